"""`dlt_source` in pipelines of anybody: into duckdb and into files, twice, incrementally."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sync_pipelines
from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.runs.as_dlt import position_of
from sync_pipelines_tests.world import World, item


def pipeline_of(folder: Path, **destination: Any) -> Any:
    return dlt.pipeline("outside", pipelines_dir=str(folder / "state"), dataset_name="erp", **destination)


def rows_in(pipeline: Any, table: str) -> list[tuple[Any, ...]]:
    with pipeline.sql_client() as client, client.execute_query(f"SELECT * FROM {table}") as cursor:  # noqa: S608
        return list(cursor.fetchall())


def test_anybody_runs_an_entity_into_duckdb_twice(world: World, environment: dict[str, str], tmp_path: Path) -> None:
    table = world.add_items(250)
    pipeline = pipeline_of(tmp_path, destination=dlt.destinations.duckdb(str(tmp_path / "other.duckdb")))
    source = sync_pipelines.dlt_source("erp", "items")
    pipeline.run(source).raise_on_failed_jobs()
    assert len(rows_in(pipeline, "items")) == 250
    world.faults.clear()
    table.put(item(7, item_description="changed"))
    table.put(item(1000))
    before = len(world.server.requests_log)
    pipeline.run(sync_pipelines.dlt_source("erp", "items")).raise_on_failed_jobs()
    asked = [one.rowversion_gt for one in world.server.requests_log[before:] if one.kind == "data"]
    assert all(asked)
    assert len(rows_in(pipeline, "items")) == 251
    assert sum("changed" in map(str, row) for row in rows_in(pipeline, "items")) == 1


def test_rejects_are_not_left_out(world: World, environment: dict[str, str], tmp_path: Path) -> None:
    table = world.add_items(5)
    table.put(item(3, weight_per_unit="many"))
    pipeline = pipeline_of(tmp_path, destination=dlt.destinations.duckdb(str(tmp_path / "other.duckdb")))
    pipeline.run(sync_pipelines.dlt_source("erp")).raise_on_failed_jobs()
    assert (len(rows_in(pipeline, "items")), len(rows_in(pipeline, "items__rejects"))) == (4, 1)


def test_files_get_exact_decimals(world: World, environment: dict[str, str], tmp_path: Path) -> None:
    table = world.add_items(2)
    table.put(item(0, weight_per_unit=Decimal("1234567.125")))
    target = dlt.destinations.filesystem(bucket_url=(tmp_path / "lake").as_uri())
    pipeline = pipeline_of(tmp_path, destination=target)
    pipeline.run(sync_pipelines.dlt_source("erp", "items"), loader_file_format="parquet").raise_on_failed_jobs()
    import pyarrow.parquet as pq

    (file,) = (tmp_path / "lake" / "erp" / "items").glob("*.parquet")
    assert Decimal("1234567.125") in pq.read_table(file)["weight_per_unit"].to_pylist()


@given(st.lists(st.integers(-(10**30), 10**30), min_size=2, max_size=5), st.sampled_from([Codec.INTEGER, Codec.HEX]))
def test_positions_sort_as_their_codec_does(numbers: list[int], codec: Codec) -> None:
    texts = [str(one) if codec is Codec.INTEGER else f"{abs(one):x}" for one in numbers]
    by_codec = sorted(texts, key=lambda text: order_key(codec, text))
    by_text = sorted(texts, key=lambda text: position_of(codec, text))
    assert [order_key(codec, one) for one in by_text] == [order_key(codec, one) for one in by_codec]
    assert all(position_of(codec, text).partition("|")[2] == text for text in texts)


@pytest.mark.parametrize(
    "codec, earlier, later",
    [
        (Codec.TIMESTAMP, "2024-06-30T23:30:00-05:00", "2024-07-01T05:00:00Z"),
        (Codec.TEXT, "a|9", "b|1"),
        (Codec.HTTP_DATE, "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"),
    ],
)
def test_positions_of_times_and_texts_sort_as_time_does(codec: Codec, earlier: str, later: str) -> None:
    assert position_of(codec, earlier) < position_of(codec, later)
    assert position_of(codec, earlier).partition("|")[2] == earlier
    assert json.dumps(position_of(codec, earlier))
