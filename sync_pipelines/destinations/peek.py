"""Runs that need no load: every record that was fetched is in the table already, as it is."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.books.keys import Key
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import ReadResult
from sync_pipelines.model.run import Ledger
from sync_pipelines.model.staged import staged_keys


def distinct_records(entity: Entity, batch: pa.Table) -> pa.Table | None:
    """Rowversion, hash, key and flags of the different records of a batch; None where a key has several of them.

    Args:
        entity: of the records.
        batch: with the schema of `model.staged.records_schema`.
    """
    keys = staged_keys(entity)
    compared = [
        "rowversion",
        "hash",
        *keys,
        *entity.flags,
    ]
    distinct = _distinct(batch, compared)
    different_keys = _distinct(batch, keys)
    if len(distinct) != len(different_keys):
        return None
    return distinct


def _distinct(batch: pa.Table, names: list[str]) -> pa.Table:
    """The different combinations of the values of some columns."""
    groups = batch.group_by(names)
    return groups.aggregate([])


def key_texts(entity: Entity, records: pa.Table) -> list[Key]:
    """The business keys of staged records as the catalog has them."""
    names = staged_keys(entity)
    columns = texts_of(records, names)
    return list(zip(*columns, strict=True))


def texts_of(records: pa.Table, names: list[str]) -> list[list[str]]:
    """Values of staged columns as texts, a list for each column."""
    columns = []
    for name in names:
        texts = pc.cast(records[name], pa.string())
        columns.append(texts.to_pylist())
    return columns


def unchanged_ledger(
    read: ReadResult,
    batch: pa.Table,
    distinct: pa.Table,
) -> Ledger:
    """The ledger of a run whose records are all in the table.

    Args:
        read: of the run.
        batch: all its records.
        distinct: the different ones among them.
    """
    unchanged = len(distinct)
    repeated = len(batch) - unchanged
    return Ledger(
        fetched=read.fetched,
        unchanged=unchanged,
        superseded=read.reread + repeated,
    )
