"""Discovers REST APIs and keeps a table in PostgreSQL or Trino equal to each of them."""
