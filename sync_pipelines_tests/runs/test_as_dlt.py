"""`dlt_source` in pipelines of anybody: into duckdb and into files, twice, incrementally."""

from __future__ import annotations

import itertools
import json
import sys
import types
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import psycopg
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed
from hypothesis import given
from hypothesis import strategies as st

import sync_pipelines
from sync_pipelines.demo.twin.rowversions import IntegerRowversions
from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.runs.as_dlt import position_of
from sync_pipelines.runs.extraction import Extraction
from sync_pipelines.sources.numbered import NumberedRead
from sync_pipelines_tests.declared_world import COLUMNS, DeclaredWorld, user
from sync_pipelines_tests.world import World, item


def pipeline_of(folder: Path, **destination: Any) -> Any:
    return dlt.pipeline(
        "outside", pipelines_dir=str(folder / "state"), dataset_name="erp", **destination
    )


def rows_in(pipeline: Any, table: str) -> list[tuple[Any, ...]]:
    with pipeline.sql_client() as client, client.execute_query(f"SELECT * FROM {table}") as cursor:
        return list(cursor.fetchall())


def test_anybody_runs_an_entity_into_duckdb_twice(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    # Later writes within the second of the last one would be below the position of dlt.
    table = world.add_items(250, rowversions=IntegerRowversions(), comparator="integer")
    pipeline = pipeline_of(
        tmp_path, destination=dlt.destinations.duckdb(str(tmp_path / "other.duckdb"))
    )
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


def test_rejects_are_not_left_out(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    table = world.add_items(5)
    table.put(item(3, weight_per_unit="many"))
    pipeline = pipeline_of(
        tmp_path, destination=dlt.destinations.duckdb(str(tmp_path / "other.duckdb"))
    )
    pipeline.run(sync_pipelines.dlt_source("erp")).raise_on_failed_jobs()
    assert (len(rows_in(pipeline, "items")), len(rows_in(pipeline, "items__rejects"))) == (4, 1)


def test_files_get_exact_decimals(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    table = world.add_items(2)
    table.put(item(0, weight_per_unit=Decimal("1234567.125")))
    target = dlt.destinations.filesystem(bucket_url=(tmp_path / "lake").as_uri())
    pipeline = pipeline_of(tmp_path, destination=target)
    pipeline.run(
        sync_pipelines.dlt_source("erp", "items"), loader_file_format="parquet"
    ).raise_on_failed_jobs()
    import pyarrow.parquet as pq

    (file,) = (tmp_path / "lake" / "erp" / "items").glob("*.parquet")
    assert Decimal("1234567.125") in pq.read_table(file)["weight_per_unit"].to_pylist()


@given(
    st.lists(st.integers(-(10**30), 10**30), min_size=2, max_size=5),
    st.sampled_from([Codec.INTEGER, Codec.HEX]),
)
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
def test_positions_of_times_and_texts_sort_as_time_does(
    codec: Codec, earlier: str, later: str
) -> None:
    assert position_of(codec, earlier) < position_of(codec, later)
    assert position_of(codec, earlier).partition("|")[2] == earlier
    assert json.dumps(position_of(codec, earlier))


def into_duckdb(folder: Path) -> Any:
    return pipeline_of(folder, destination=dlt.destinations.duckdb(str(folder / "other.duckdb")))


def names_in(pipeline: Any, table: str = "users") -> list[tuple[Any, ...]]:
    with (
        pipeline.sql_client() as client,
        client.execute_query(f"SELECT id, name FROM {table} ORDER BY 1, 2") as found,
    ):
        return list(found.fetchall())


def test_a_key_that_comes_twice_in_a_whole_read_is_one_row_as_it_came_last(
    declared: DeclaredWorld, environment: dict[str, str], tmp_path: Path
) -> None:
    served = declared.serve(records=[user(1), user(2), user(1, name="later")])
    declared.apply_endpoint()
    pipeline = into_duckdb(tmp_path)
    pipeline.run(sync_pipelines.dlt_source("shop", "users")).raise_on_failed_jobs()
    assert names_in(pipeline) == [(1, "later"), (2, "user 2")]
    served.records[:] = [user(3)]
    pipeline.run(sync_pipelines.dlt_source("shop", "users")).raise_on_failed_jobs()
    assert names_in(pipeline) == [(3, "user 3")]
    served.records.clear()
    pipeline.run(sync_pipelines.dlt_source("shop", "users")).raise_on_failed_jobs()
    assert names_in(pipeline) == []


def test_a_list_that_changes_in_every_attempt_replaces_nothing(
    declared: DeclaredWorld,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    declared.serve(2)
    declared.apply_endpoint()
    pipeline = into_duckdb(tmp_path)
    pipeline.run(sync_pipelines.dlt_source("shop", "users")).raise_on_failed_jobs()
    monkeypatch.setattr(NumberedRead, "is_still", property(lambda read: False))
    with pytest.raises(PipelineStepFailed, match="The source changed while it was read"):
        pipeline.run(sync_pipelines.dlt_source("shop", "users"))
    assert len(names_in(pipeline)) == 2


def test_an_order_that_only_the_source_knows_is_refused_and_then_read_in_full(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    marks = (f"v{number * 7919 % 100:03}x" for number in itertools.count(1))
    table = world.add_items(3, rowversions=lambda: next(marks), comparator="text")
    pipeline = into_duckdb(tmp_path)
    with pytest.raises(PipelineStepFailed, match="Only the source knows the order"):
        pipeline.run(sync_pipelines.dlt_source("erp", "items"))
    world.sync()
    for count in (3, 4):
        pipeline.run(sync_pipelines.dlt_source("erp", "items")).raise_on_failed_jobs()
        assert len(rows_in(pipeline, "items")) == count
        table.put(item(100))


def test_positions_of_another_codec_are_not_compared(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    world.add_items(3)
    pipeline = into_duckdb(tmp_path)
    pipeline.run(sync_pipelines.dlt_source("erp", "items")).raise_on_failed_jobs()
    world.set(
        "items", cursor_codec="opaque" if world.entity().position.cursor_codec == "hex" else "hex"
    )
    with pytest.raises(PipelineStepFailed, match="the position of the pipeline is of"):
        pipeline.run(sync_pipelines.dlt_source("erp", "items"))
    pipeline.run(
        sync_pipelines.dlt_source("erp", "items"), refresh="drop_resources"
    ).raise_on_failed_jobs()
    assert len(rows_in(pipeline, "items")) == 3


def test_a_source_that_our_runs_found_unsorted_is_read_by_number(
    world: World, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add_items(3)
    world.sync()
    asked: list[bool] = []
    read = Extraction.batches

    def noting(self: Extraction, **options: Any) -> Any:
        asked.append(options["in_order"])
        return read(self, **options)

    monkeypatch.setattr(Extraction, "batches", noting)
    pipeline = into_duckdb(tmp_path)
    for details in ("{}", '{"unsorted": true}'):
        with psycopg.connect(world.database.url) as connection:
            connection.execute(
                "UPDATE bridge.sync_runs SET details = details || %s::jsonb", [details]
            )
        pipeline.run(sync_pipelines.dlt_source("erp", "items")).raise_on_failed_jobs()
    assert asked == [True, False]
    assert len(rows_in(pipeline, "items")) == 3


def test_a_dlt_source_of_ours_over_one_of_dlt_keeps_its_own_state(
    declared: DeclaredWorld,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: Any = types.ModuleType("module_of_another")

    @dlt.resource(name="users")
    def inner(changed: Any = dlt.sources.incremental("changed", initial_value=0)) -> Any:  # noqa: B008
        yield [{"id": number, "name": "n", "changed": number} for number in (1, 2, 3)]

    made.users = inner
    monkeypatch.setitem(sys.modules, made.__name__, made)
    columns = [*COLUMNS[:2], {"name": "changed", "type": "bigint"}]
    cursor = {"field": "changed", "param": "incremental", "codec": "integer"}
    endpoints = {"users": {"columns": columns, "cursor": cursor}}
    data = {
        **declared.declare(auth=None),
        "kind": "dlt",
        "source": "module_of_another.users",
        "endpoints": endpoints,
    }
    declared.apply(data)
    pipeline = into_duckdb(tmp_path)
    for refresh in (None, None, "drop_resources"):
        pipeline.run(
            sync_pipelines.dlt_source("shop", "users"), refresh=refresh
        ).raise_on_failed_jobs()
        assert [key for key, _ in names_in(pipeline)] == [1, 2, 3]
    assert "'changed'" not in str(pipeline.state)
