"""When an entity is due and why; nothing here knows who starts the runs."""
