"""Business keys as the catalog keeps them: a JSON array of texts."""

from __future__ import annotations

import json
from collections.abc import Iterable

from sync_pipelines.model.entity import Entity
from sync_pipelines.model.staged import staged_keys

Key = tuple[str, ...]


def key_json(expressions: Iterable[str]) -> str:
    """SQL that makes the JSON of a key from the expressions of its columns."""
    texts = ", ".join(f"{expression}::text" for expression in expressions)
    return f"jsonb_build_array({texts})"


def typed_parts(entity: Entity, key: str) -> list[str]:
    """SQL for each column of a key, in the column's type, out of its JSON."""
    return [
        f"({key}->>{index})::{column.type.sql}" for index, column in enumerate(entity.business_keys)
    ]


def keys_relation(entity: Entity, table: str, condition: str) -> str:
    """A relation of the keys in a table of the catalog, with the columns of staging and the rowversion.

    Args:
        entity: whose keys.
        table: quoted; has `business_key` and `rowversion`; the condition calls it q.
        condition: which of its rows; those without a key are left out.
    """
    names = staged_keys(entity)
    parts = zip(typed_parts(entity, "q.business_key"), names, strict=True)
    columns = ", ".join(f"{part} AS {name}" for part, name in parts)
    return (
        f"(SELECT {columns}, q.rowversion FROM {table} q"
        f" WHERE q.business_key IS NOT NULL AND {condition})"
    )


def parse_key(text: str) -> Key:
    """A key out of its JSON."""
    return tuple(json.loads(text))
