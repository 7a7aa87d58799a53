"""Declared REST sources: requests, pagination, OpenAPI, inference of columns."""
