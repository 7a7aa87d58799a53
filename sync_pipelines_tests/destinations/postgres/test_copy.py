"""COPY: what PostgreSQL refuses although its type fits is found by halving and set aside, the rest passes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pyarrow as pa
import pytest

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.books.copying import copy_batches
from sync_pipelines.books.originals import Originals
from sync_pipelines.books.staging import prepare_staging
from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.postgres.copy import (
    copy_by_halves,
    records_statement,
    set_row_aside,
)
from sync_pipelines.model.entity import Column, DeltaStrategy, Entity
from sync_pipelines.model.staged import records_schema

COLUMNS = (Column("id", "INTEGER", False, True), Column("note", "JSON"))
ENTITY = Entity(uuid4(), "erp", "notes", "Notes", "", DeltaStrategy.FULL, COLUMNS, "erp", "notes")


NOTHING_KEPT = Originals(Path)


def batches_of(notes: list[str | None]) -> list[pa.RecordBatch]:
    count = len(notes)
    columns = [range(count), ["1"] * count, ["h"] * count, range(count), notes]
    arrays = [pa.array(column) for column in columns]
    schema = records_schema(ENTITY)
    return pa.table(arrays, names=schema.names).cast(schema).to_batches()


@pytest.mark.parametrize("bad", [set(), {0}, {999}, {3, 4, 500}, set(range(0, 1000, 7))])
def test_refused_rows_are_set_aside_and_all_others_copied(
    database: Database, bad: set[int]
) -> None:
    batches = batches_of(["no json" if place in bad else '{"a": 1}' for place in range(1000)])
    with psycopg.connect(database.url) as connection, connection.cursor() as cursor:
        prepare_staging(cursor, ENTITY)
        assert copy_by_halves(cursor, batches, ENTITY, NOTHING_KEPT) == len(bad)
        cursor.execute("SELECT c0 FROM erp_staging.notes__records ORDER BY 1")
        assert [row[0] for row in cursor.fetchall()] == [
            place for place in range(1000) if place not in bad
        ]
        cursor.execute(
            "SELECT business_key, reason, record FROM erp_staging.notes__rejects ORDER BY position"
        )
        rejects = cursor.fetchall()
    assert [key for key, _, _ in rejects] == [[str(place)] for place in sorted(bad)]
    assert all("invalid input syntax for type json" in reason for _, reason, _ in rejects)
    assert all(json.loads(bytes(record))["data"]["note"] == "no json" for _, _, record in rejects)


def test_a_refused_record_whose_bytes_are_gone_is_rebuilt_so_that_it_can_be_released(
    database: Database,
) -> None:
    columns = (
        *COLUMNS,
        *(
            Column(name, name)
            for name in ("TEXT", "BOOLEAN", "NUMERIC", "DOUBLE", "DATE", "BYTEA", "TIMESTAMPTZ")
        ),
    )
    sent = (
        b'{"id":1,"note":[1.10],"TEXT":"1","BOOLEAN":true,"NUMERIC":1.50,"DOUBLE":1e300,'
        b'"DATE":"2024-01-01","BYTEA":"\\\\x0f","TIMESTAMPTZ":null}'
    )
    decoder = PageDecoder(replace(ENTITY, columns=columns))
    good = decoder.decode_one(b'{"row_version":"7","data":' + sent + b"}")
    row = {name: good[name].cast(pa.string())[0].as_py() for name in good.column_names}
    with psycopg.connect(database.url) as connection, connection.cursor() as cursor:
        prepare_staging(cursor, ENTITY)
        set_row_aside(
            cursor,
            {**row, "arrival": "0", "rowversion": "7"},
            replace(ENTITY, columns=columns),
            "too large",
            NOTHING_KEPT,
        )
        cursor.execute("SELECT record FROM erp_staging.notes__rejects")
        record = bytes(cursor.fetchone()[0])
    assert decoder.decode_one(record) == good


def test_all_batches_are_one_statement_that_fails_as_a_whole(database: Database) -> None:
    batches = [*batches_of(["{}"]), *batches_of(["no json"])]
    with psycopg.connect(database.url) as connection, connection.cursor() as cursor:
        prepare_staging(cursor, ENTITY)
        connection.commit()
        with pytest.raises(psycopg.DataError):
            copy_batches(cursor, records_statement(ENTITY), batches)
        connection.rollback()
        cursor.execute("SELECT count(*) FROM erp_staging.notes__records")
        assert cursor.fetchone() == (0,)


def test_an_empty_text_stays_apart_from_null(database: Database) -> None:
    batches = batches_of([None, '""'])
    with psycopg.connect(database.url) as connection, connection.cursor() as cursor:
        prepare_staging(cursor, ENTITY)
        copy_batches(cursor, records_statement(ENTITY), batches)
        cursor.execute("SELECT c1 FROM erp_staging.notes__records ORDER BY c0")
        assert cursor.fetchall() == [(None,), ("",)]
