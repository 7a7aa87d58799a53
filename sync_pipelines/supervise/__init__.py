"""What keeps the processes alive and notices when they are not; nothing of Dagster is imported here."""
