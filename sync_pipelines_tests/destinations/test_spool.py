"""What waits for the publish step reads the same from memory and from disk."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from sync_pipelines.books import originals as originals_module
from sync_pipelines.books.originals import Original, Originals
from sync_pipelines.destinations import spool as spooling
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.spools import RunFolder

EVERYTHING_ON_DISK, EVERYTHING_IN_MEMORY, FROM_THE_SECOND_BATCH_ON_DISK = 0, 1 << 30, 100


@pytest.mark.parametrize(
    "limit", [EVERYTHING_ON_DISK, EVERYTHING_IN_MEMORY, FROM_THE_SECOND_BATCH_ON_DISK]
)
def test_batches_come_back_in_order_wherever_they_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(spooling, "MEMORY_BYTES", limit)
    with RunFolder(tmp_path) as folder, Spool(folder) as spool:
        for start in (0, 10, 20):
            numbers = pa.array(range(start, start + 10))
            spool.write("records", pa.table({"a": numbers, "b": numbers.cast(pa.string())}))
            spool.write("rejects", pa.table({"r": numbers}))
        spool.close()
        assert spool.rows == {"records": 30, "rejects": 30}
        assert (spool.file("records") is None) is (limit == EVERYTHING_IN_MEMORY)
        assert pa.Table.from_batches(spool.batches("records"))["a"].to_pylist() == list(range(30))
        only_b = pa.Table.from_batches(spool.batches("records", ["b"]))
        assert only_b.column_names == ["b"]
        assert only_b["b"].to_pylist() == [str(number) for number in range(30)]
        assert pa.Table.from_batches(spool.batches("rejects"))["r"].to_pylist() == list(range(30))
        assert list(spool.batches("nothing")) == []
    assert list(tmp_path.rglob("*.parquet")) == []


@pytest.mark.parametrize(
    "limit", [EVERYTHING_ON_DISK, EVERYTHING_IN_MEMORY, FROM_THE_SECOND_BATCH_ON_DISK]
)
def test_an_original_is_found_by_its_number_of_arrival_wherever_it_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(originals_module, "MEMORY_BYTES", limit)
    with Originals(lambda: tmp_path) as originals:
        for start in (3, 10, 17):
            originals.add(
                [
                    {
                        "arrival": arrival,
                        "page": start,
                        "position": arrival,
                        "record": b"record %d" % arrival,
                    }
                    for arrival in range(start, start + 5)
                ]
            )
        originals.close()
        assert originals.find(11) == Original(10, 11, b"record 11")
        assert originals.find(21) == Original(17, 21, b"record 21")
        assert [originals.find(arrival) for arrival in (0, 8, 9, 16, 22)] == [None] * 5
    assert (tmp_path / "originals.parquet").exists() is (limit != EVERYTHING_IN_MEMORY)
