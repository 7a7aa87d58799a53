"""The command line: `sync-pipelines`, one module per noun."""
