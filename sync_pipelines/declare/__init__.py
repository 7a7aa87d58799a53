"""Connector files: read safely, filled with inputs, planned against the catalog, applied."""
