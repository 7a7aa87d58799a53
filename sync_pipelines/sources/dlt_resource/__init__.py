"""The kind `dlt`: resources of any dlt source, read by our own runs."""
