"""Trino as a destination: Parquet staged where Trino reads it, one atomic MERGE into Iceberg; see docs/trino.md."""
