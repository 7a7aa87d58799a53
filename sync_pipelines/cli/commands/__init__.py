"""The commands of `sync-pipelines`, one module a group."""
