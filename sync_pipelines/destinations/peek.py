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
    distinct = batch.group_by(["rowversion", "hash", *keys, *entity.flags]).aggregate([])
    different_keys = batch.group_by(keys).aggregate([])
    return distinct if len(distinct) == len(different_keys) else None


def key_texts(entity: Entity, records: pa.Table) -> list[Key]:
    """The business keys of staged records as the catalog has them."""
    columns = [pc.cast(records[name], pa.string()).to_pylist() for name in staged_keys(entity)]
    return list(zip(*columns, strict=True))


def unchanged_ledger(read: ReadResult, batch: pa.Table, distinct: pa.Table) -> Ledger:
    """The ledger of a run whose records are all in the table.

    Args:
        read: of the run.
        batch: all its records.
        distinct: the different ones among them.
    """
    repeated = len(batch) - len(distinct)
    return Ledger(read.fetched, unchanged=len(distinct), superseded=read.reread + repeated)
