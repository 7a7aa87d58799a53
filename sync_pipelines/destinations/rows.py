"""What a record s gives its row t, as columns with their expressions; each destination makes its statements of them."""

from __future__ import annotations

from collections.abc import Mapping

from sync_pipelines.destinations.dialect import Dialect, Quote
from sync_pipelines.destinations.hashes import stored_hash
from sync_pipelines.model.entity import REJECTED_COLUMN, Entity
from sync_pipelines.model.staged import staged_places

Values = dict[str, str]
"""Expressions by the column that they go to; names of the source are quoted."""


def record_columns(entity: Entity) -> list[str]:
    """Columns of a row that come from its record: content, flags, hash, rowversion."""
    names = [column.target_name for column in entity.columns]
    names += entity.flags.values()
    names += ["_bridge_hash", "_bridge_rowversion"]
    return names


def record_values(quote: Quote, entity: Entity) -> Values:
    """The columns of `record_columns`, each with its expression over s."""
    places = staged_places(entity)
    values = {}
    for column in entity.columns:
        name = quote(column.target_name)
        values[name] = f"s.{places[column.name]}"
    for flag, own in entity.flags.items():
        values[own] = f"s.{flag}"
    values["_bridge_hash"] = stored_hash(entity)
    values["_bridge_rowversion"] = "s.rowversion"
    return values


def revised_values(dialect: Dialect, entity: Entity, moves: str) -> Values:
    """What a newer record changes in its row: the row comes back, and loses the mark of a rejected record.

    Args:
        dialect: of the destination.
        entity: of the record.
        moves: a condition, that readers must see the row as updated.
    """
    values = record_values(dialect.quote, entity)
    for column in entity.business_keys:
        name = dialect.quote(column.target_name)
        del values[name]
    if entity.has_rejected:
        values[REJECTED_COLUMN] = "NULL"
    values["_bridge_deleted"] = "false"
    values["_bridge_updated_at"] = (
        f"CASE WHEN {moves} THEN {dialect.now} ELSE t._bridge_updated_at END"
    )
    return values


def deleted_values(dialect: Dialect) -> Values:
    """What changes in a row that the source no longer has."""
    return {"_bridge_deleted": "true", "_bridge_updated_at": dialect.now}


def assignments(values: Mapping[str, str]) -> str:
    """Values as they follow SET."""
    pairs = [f"{name} = {expression}" for name, expression in values.items()]
    return ", ".join(pairs)
