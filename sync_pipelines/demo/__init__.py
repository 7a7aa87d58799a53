"""The demo: a source that misbehaves on command, a Trino server, and the proof that the tables are equal to the source."""
