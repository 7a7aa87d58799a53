"""Prove it: compare source and table, on demand."""
