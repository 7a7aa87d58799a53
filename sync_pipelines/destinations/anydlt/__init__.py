"""Destinations of dlt: rows are compared in the control database and written by a dlt pipeline with merge."""
