"""The run of an entity: sync, checkpoint, release, write-back, audit."""
