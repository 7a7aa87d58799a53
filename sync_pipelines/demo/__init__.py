"""The demo: a source that misbehaves on command, a Trino server, and the proof that tables equal the source."""
