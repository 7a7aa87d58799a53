"""Dagster and nothing else: assets, checks, jobs, executor, storage."""
