"""PostgreSQL: dlt loads the staging tables, our publish step merges rows, ledger, quarantine and cursor at once."""
