"""Whether a small batch is in the table already, asked by one query."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from sync_pipelines.books.rejects import waits_for_key
from sync_pipelines.destinations.peek import distinct_records, key_texts, texts_of, unchanged_ledger
from sync_pipelines.destinations.postgres.dialect import POSTGRES
from sync_pipelines.destinations.verdicts import rules_of
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.run import Ledger
from sync_pipelines.model.staged import staged_keys
from sync_pipelines.model.tables import target_of


def all_unchanged(
    cursor: Any,
    request: PublishRequest,
    read: ReadResult,
    batch: pa.Table,
) -> Ledger | None:
    """The ledger of a small batch whose every record is in the table as it is; None when one does not.

    Args:
        cursor: with rows as tuples.
        request: of the run.
        read: of the run.
        batch: all records of the run, with the schema of `model.staged.records_schema`.
    """
    entity = request.entity
    distinct = distinct_records(entity, batch)
    if distinct is None:
        return None
    names = ["hash", "rowversion", *staged_keys(entity), *entity.flags]
    texts = texts_of(distinct, names)
    rules = rules_of(POSTGRES, request, read)
    target = target_of(entity)
    condition = f"JOIN {target} t ON {rules.match} WHERE {rules.same}"
    condition = condition.replace("%", "%%")
    cursor.execute(f"SELECT count(*) FROM {_records(entity, names)} s {condition}", texts)
    (same,) = cursor.fetchone()
    if same != len(distinct):
        return None
    # A good record whose key is in quarantine must go the long way, which settles it.
    keys = key_texts(entity, distinct)
    if waits_for_key(cursor, request, keys):
        return None
    return unchanged_ledger(read, batch, distinct)


def _records(entity: Entity, names: list[str]) -> str:
    """A relation of records whose columns come as arrays of texts, with their keys in the types of the table."""
    keys = zip(staged_keys(entity), entity.business_keys, strict=True)
    typed = dict.fromkeys(names, "")
    for name, column in keys:
        typed[name] = f"::{column.type.sql}"
    columns = ", ".join(f"{name}{cast} AS {name}" for name, cast in typed.items())
    arrays = ", ".join("%s::text[]" for _ in names)
    return f"(SELECT {columns} FROM unnest({arrays}) AS u ({', '.join(names)}))"
