"""The quoted tables of an entity, as PostgreSQL names them."""

from __future__ import annotations

from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import quote


def target_of(entity: Entity) -> str:
    """The target table."""
    return quote(entity.target_schema, entity.target_table)


def records_of(entity: Entity) -> str:
    """The staging table of the good records."""
    return quote(entity.staging_schema, entity.records_table)


def rejects_of(entity: Entity) -> str:
    """The staging table of the records that go to quarantine."""
    return quote(entity.staging_schema, entity.rejects_table)
