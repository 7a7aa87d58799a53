"""COPY: what PostgreSQL refuses although its type fits is found by halving and set aside, the rest passes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.books.originals import Originals
from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.postgres.copy import copy_by_halves, copy_parquet, set_row_aside
from sync_pipelines.destinations.postgres.staging import prepare_staging
from sync_pipelines.model.entity import Column, DeltaStrategy, Entity
from sync_pipelines.model.staged import records_schema

COLUMNS = (Column("id", "INTEGER", False, True), Column("note", "JSON"))
ENTITY = Entity(uuid4(), "erp", "notes", "Notes", "", DeltaStrategy.FULL, COLUMNS, "erp", "notes")


def write(path: Path, notes: list[str | None]) -> str:
    count = len(notes)
    columns = [range(count), ["1"] * count, ["h"] * count, range(count), notes]
    pq.write_table(
        pa.table([pa.array(column) for column in columns], names=records_schema(ENTITY).names).cast(
            records_schema(ENTITY)
        ),
        path,
    )
    return str(path)


@pytest.mark.parametrize("bad", [set(), {0}, {999}, {3, 4, 500}, set(range(0, 1000, 7))])
def test_refused_rows_are_set_aside_and_all_others_copied(database: Database, tmp_path: Path, bad: set[int]) -> None:
    path = write(tmp_path / "notes.parquet", ["no json" if place in bad else '{"a": 1}' for place in range(1000)])
    with psycopg2.connect(database.url) as connection, connection.cursor() as cursor:
        prepare_staging(cursor, ENTITY)
        assert copy_by_halves(cursor, path, ENTITY, Originals()) == len(bad)
        cursor.execute("SELECT c0 FROM erp_staging.notes__records ORDER BY 1")
        assert [row[0] for row in cursor.fetchall()] == [place for place in range(1000) if place not in bad]
        cursor.execute("SELECT business_key, reason, record FROM erp_staging.notes__rejects ORDER BY position")
        rejects = cursor.fetchall()
    assert [key for key, _, _ in rejects] == [[str(place)] for place in sorted(bad)]
    assert all("invalid input syntax for type json" in reason for _, reason, _ in rejects)
    assert all(json.loads(bytes(record))["data"]["note"] == "no json" for _, _, record in rejects)


def test_a_refused_record_whose_bytes_are_gone_is_rebuilt_so_that_it_can_be_released(
    database: Database, tmp_path: Path
) -> None:
    columns = (
        *COLUMNS,
        *(Column(name, name) for name in ("TEXT", "BOOLEAN", "NUMERIC", "DOUBLE", "DATE", "BYTEA", "TIMESTAMPTZ")),
    )
    sent = b'{"id":1,"note":[1.10],"TEXT":"1","BOOLEAN":true,"NUMERIC":1.50,"DOUBLE":1e300,"DATE":"2024-01-01","BYTEA":"\\\\x0f","TIMESTAMPTZ":null}'
    decoder = PageDecoder(replace(ENTITY, columns=columns))
    good = decoder.decode_one(b'{"row_version":"7","data":' + sent + b"}")
    row = {name: good[name].cast(pa.string())[0].as_py() for name in good.column_names}
    with psycopg2.connect(database.url) as connection, connection.cursor() as cursor:
        prepare_staging(cursor, ENTITY)
        set_row_aside(
            cursor,
            {**row, "arrival": "0", "rowversion": "7"},
            replace(ENTITY, columns=columns),
            "too large",
            Originals(),
        )
        cursor.execute("SELECT record FROM erp_staging.notes__rejects")
        record = bytes(cursor.fetchone()[0])
    assert decoder.decode_one(record) == good


def test_a_whole_file_is_one_statement_that_fails_as_a_whole(database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "notes.parquet", ["{}", "no json"])
    with psycopg2.connect(database.url) as connection, connection.cursor() as cursor:
        prepare_staging(cursor, ENTITY)
        connection.commit()
        with pytest.raises(psycopg2.DataError):
            copy_parquet(cursor, path, "erp_staging", "notes__records")
        connection.rollback()
        cursor.execute("SELECT count(*) FROM erp_staging.notes__records")
        assert cursor.fetchone() == (0,)


def test_an_empty_text_stays_apart_from_null(database: Database, tmp_path: Path) -> None:
    path = write(tmp_path / "notes.parquet", [None, '""'])
    with psycopg2.connect(database.url) as connection, connection.cursor() as cursor:
        prepare_staging(cursor, ENTITY)
        copy_parquet(cursor, path, "erp_staging", "notes__records")
        cursor.execute("SELECT c1 FROM erp_staging.notes__records ORDER BY c0")
        assert cursor.fetchall() == [(None,), ("",)]
