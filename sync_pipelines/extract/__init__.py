"""Get records: guarded HTTP, the paging protocol, pages decoded into Arrow."""
