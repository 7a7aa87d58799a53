"""Fault 42: our own disk is full, or a file is torn between two steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest

from sync_pipelines.destinations import spool as spooling
from sync_pipelines.destinations.postgres.stream import RecordStream
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.errors import FatalError, LedgerError, RunLimitError
from sync_pipelines_tests.faults.helpers import healed, refused, tiny_disk
from sync_pipelines_tests.test_lost_connections import changed_items
from sync_pipelines_tests.world import World, item


def half(path: Path) -> None:
    """Only half of the file reached the disk."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def without_last_row(path: Path) -> None:
    """A file that can be read but lost a record."""
    table = pq.read_table(path)
    pq.write_table(table.slice(0, len(table) - 1), path)


def refuse(stream: RecordStream, while_waiting: Callable[[], None]) -> None:
    """PostgreSQL takes no record while they are read, so that they come from the file."""
    stream._put(None, while_waiting)
    stream._thread.join()
    stream.connection.rollback()
    stream.refusal = psycopg.DataError("refused by the test")


def test_fault_42_temp_folder_full_or_torn_file(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = changed_items(world)
    # Also a small run goes over the disk.
    monkeypatch.setattr(spooling, "MEMORY_BYTES", 0)
    original = Spool.close
    spoilers: dict[Callable[[Path], None], type[FatalError]] = {
        half: FatalError,
        without_last_row: LedgerError,
    }
    for spoil, error in spoilers.items():

        def spoiled(self: Spool, spoil: Callable[[Path], None] = spoil) -> None:
            original(self)
            path = self.file("items__records")
            if path is not None:
                spoil(path)

        with monkeypatch.context() as patch:
            patch.setattr(RecordStream, "finish", refuse)
            patch.setattr(Spool, "close", spoiled)
            refused(world, error)
    table.put_many(
        [item(number, item_description=os.urandom(100).hex()) for number in range(100, 200)]
    )
    with tiny_disk(tmp_path / "full", "16k") as folder, monkeypatch.context() as patch:
        patch.setattr(
            world,
            "settings",
            world.settings.model_copy(update={"home": folder, "min_free_disk_bytes": 0}),
        )
        refused(world, FatalError, "No space left")
        patch.setattr(
            world, "settings", world.settings.model_copy(update={"min_free_disk_bytes": 10_000_000})
        )
        refused(world, RunLimitError, "10000000 must stay free")
        assert list((folder / "spools").glob("run_*")) == []
    healed(world, 113)
