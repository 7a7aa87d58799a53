# ruff: noqa: S608 - every name in the statements is a constant of this module or a slug of our own source
"""The floor: what the same work costs when written by hand for one table, without ledger, gate, quarantine or retries.

Pages are decoded with msgspec in one thread and copied into UNLOGGED staging by a second one; then the same SQL as
ours: insert and index an empty table, or update where the hash differs, insert what is new, soft-delete what vanished.
`absolute` is lower still: COPY straight into the empty target with the hash taken on the client, which can neither see
duplicates nor be repeated.
"""

from __future__ import annotations

import hashlib
import io
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
import urllib3

from benchmarks.measure import CHANGES, Place, measured

PAGE = 1000
BATCH = 20_000
SQL_TYPES = {
    "item_number": "varchar(20)",
    "description": "varchar(100)",
    "category": "varchar(30)",
    "warehouse": "varchar(10)",
    "quantity": "integer",
    "reorder_level": "integer",
    "supplier_id": "bigint",
    "unit_price": "numeric(17,3)",
    "weight": "numeric(8,4)",
    "modified_at": "timestamp",
    "valid_from": "date",
    "is_active": "boolean",
}
NAMES = ", ".join(SQL_TYPES)
ROW = ", ".join(f"s.{name}" for name in SQL_TYPES)
_SESSION = "SET LOCAL work_mem = '128MB'; SET LOCAL maintenance_work_mem = '256MB'"
_OPTIONS = pa_csv.WriteOptions(include_header=False)


class Data(msgspec.Struct, gc=False):
    """The columns; a JSON number that becomes a decimal stays a literal."""

    item_number: str
    description: str
    category: str
    warehouse: str | None
    quantity: int
    reorder_level: int | None
    supplier_id: int
    unit_price: msgspec.Raw
    weight: str
    modified_at: str
    valid_from: str
    is_active: bool


class Row(msgspec.Struct, gc=False):
    """One record."""

    data: Data
    row_version: str


class Page(msgspec.Struct, gc=False):
    """One answer."""

    rows: list[Row]


def read(place: Place, slug: str, after: str | None) -> Iterator[pa.Table]:
    """All records after a rowversion, typed, by the same keyset protocol as ours."""
    pool, decoder = urllib3.PoolManager(), msgspec.json.Decoder(Page)
    tables: list[pa.Table] = []
    rows = 0
    while True:
        query = f"page=1&page_size={PAGE}" + (f"&rowversion_gt={after}" if after else "")
        records = decoder.decode(
            pool.request("GET", f"{place.source_url}/api/v1/data/{slug}?{query}").data
        ).rows
        is_last = len(records) < PAGE
        if not is_last:
            # The last rowversion of a full page may go on in the next one.
            last = records[-1].row_version
            while records[-1].row_version == last:
                records.pop()
            after = records[-1].row_version
        if records:
            tables.append(_table(records))
            rows += len(records)
        if tables and (is_last or rows >= BATCH):
            yield pa.concat_tables(tables).combine_chunks()
            tables, rows = [], 0
        if is_last:
            return


def _table(records: list[Row]) -> pa.Table:
    data = [record.data for record in records]
    columns = {
        "item_number": pa.array([one.item_number for one in data]),
        "description": pa.array([one.description for one in data]),
        "category": pa.array([one.category for one in data]),
        "warehouse": pa.array([one.warehouse for one in data], pa.string()),
        "quantity": pa.array([one.quantity for one in data], pa.int32()),
        "reorder_level": pa.array([one.reorder_level for one in data], pa.int32()),
        "supplier_id": pa.array([one.supplier_id for one in data], pa.int64()),
        "unit_price": pa.array([bytes(one.unit_price) for one in data])
        .cast(pa.string())
        .cast(pa.decimal128(17, 3)),
        "weight": pa.array([one.weight for one in data]).cast(pa.decimal128(8, 4)),
        "modified_at": pa.array([one.modified_at[:-1] for one in data]).cast(pa.timestamp("us")),
        "valid_from": pa.array([one.valid_from for one in data]).cast(pa.date32()),
        "is_active": pa.array([one.is_active for one in data], pa.bool_()),
        "rowversion": pa.array([record.row_version for record in records]),
    }
    return pa.table(columns)


def _copy(
    connection: psycopg.Connection[Any],
    target: str,
    tables: Iterator[pa.Table],
    to_csv: Callable[[pa.Table], bytes],
) -> int:
    """COPY in a second thread while the tables are made in this one."""
    waiting: queue.Queue[pa.Table | None] = queue.Queue(2)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with connection.cursor().copy(f"COPY {target} FROM STDIN (FORMAT csv)") as copy:
                while (table := waiting.get()) is not None:
                    copy.write(to_csv(table))
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)
            while waiting.get() is not None:
                pass

    thread, rows = threading.Thread(target=work), 0
    thread.start()
    for table in tables:
        waiting.put(table)
        rows += len(table)
    waiting.put(None)
    thread.join()
    if errors:
        raise errors[0]
    return rows


def _csv(table: pa.Table) -> bytes:
    text = io.BytesIO()
    pa_csv.write_csv(table, text, _OPTIONS)
    return text.getvalue()


def _csv_hashed(table: pa.Table) -> bytes:
    lines = _csv(table).splitlines()
    return b"".join(
        b"%b,%b\n" % (line, hashlib.md5(line, usedforsecurity=False).hexdigest().encode())
        for line in lines
    )


def _create(connection: psycopg.Connection[Any], slug: str) -> None:
    columns = ", ".join(f"{name} {kind}" for name, kind in SQL_TYPES.items())
    connection.execute(f"CREATE UNLOGGED TABLE {slug}_staging ({columns}, rowversion text)")
    connection.execute(
        f"CREATE TABLE {slug} ({columns}, rowversion text, hash text, deleted boolean NOT NULL DEFAULT false,"
        " id uuid NOT NULL DEFAULT gen_random_uuid(), created_at timestamptz DEFAULT now(), updated_at timestamptz"
        " DEFAULT now())"
    )


def _index(connection: psycopg.Connection[Any], slug: str) -> None:
    connection.execute(f"ALTER TABLE {slug} ADD PRIMARY KEY (id), ADD UNIQUE (item_number)")
    connection.execute(f"CREATE INDEX ON {slug} (rowversion)")


def _stage(place: Place, connection: psycopg.Connection[Any], slug: str, after: str | None) -> int:
    connection.execute(f"TRUNCATE {slug}_staging")
    fetched = _copy(
        connection, f"{slug}_staging ({NAMES}, rowversion)", read(place, slug, after), _csv
    )
    connection.commit()
    connection.execute(_SESSION)
    return fetched


def load_first(place: Place, slug: str) -> int:
    """Fill a new table; the indexes come afterwards."""
    with psycopg.connect(place.database_url) as connection:
        _create(connection, slug)
        fetched = _stage(place, connection, slug, None)
        connection.execute(
            f"INSERT INTO {slug} ({NAMES}, rowversion, hash) SELECT {ROW}, s.rowversion, md5(ROW({ROW})::text)"
            f" FROM {slug}_staging s"
        )
        _index(connection, slug)
    return fetched


def merge(place: Place, slug: str, *, full: bool) -> int:
    """Bring the table to what the source sends, and count what it cost."""
    with psycopg.connect(place.database_url) as connection:
        newest = connection.execute(f"SELECT max(rowversion) FROM {slug}").fetchone()
        assert newest is not None
        fetched = _stage(place, connection, slug, None if full else newest[0])
        connection.execute(f"ANALYZE {slug}_staging")
        content = ", ".join(
            f"{name} = s.{name}"
            for name in [*SQL_TYPES, "rowversion", "hash"]
            if name != "item_number"
        )
        connection.execute(
            f"UPDATE {slug} t SET {content}, deleted = false, updated_at = now()"
            f" FROM (SELECT s.*, md5(ROW({ROW})::text) AS hash FROM {slug}_staging s) s"
            " WHERE t.item_number = s.item_number AND (t.hash <> s.hash OR t.deleted)"
        )
        connection.execute(
            f"INSERT INTO {slug} ({NAMES}, rowversion, hash) SELECT {ROW}, s.rowversion, md5(ROW({ROW})::text)"
            f" FROM {slug}_staging s"
            f" WHERE NOT EXISTS (SELECT 1 FROM {slug} t WHERE t.item_number = s.item_number)"
        )
        if full:
            connection.execute(
                f"UPDATE {slug} t SET deleted = true, updated_at = now() WHERE NOT t.deleted"
                f" AND NOT EXISTS (SELECT 1 FROM {slug}_staging s WHERE s.item_number = t.item_number)"
            )
    return fetched


def _live(place: Place, slug: str = "items00") -> int:
    with psycopg.connect(place.database_url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {slug} WHERE NOT deleted").fetchone()
    assert row is not None
    return int(row[0])


def _warm_imports() -> None:
    """Arrow imports pandas when it first sees a list."""
    pa.array([0])


def first(place: Place) -> dict[str, Any]:
    """First load."""
    _warm_imports()
    with measured(place) as found:
        found["fetched"] = load_first(place, "items00")
    return {**found, "live": _live(place)}


def absolute(place: Place) -> dict[str, Any]:
    """First load straight into the target."""
    _warm_imports()
    with measured(place) as found, psycopg.connect(place.database_url) as connection:
        _create(connection, "items00")
        connection.execute(_SESSION)
        found["fetched"] = _copy(
            connection,
            f"items00 ({NAMES}, rowversion, hash)",
            read(place, "items00", None),
            _csv_hashed,
        )
        _index(connection, "items00")
    return {**found, "live": _live(place)}


def refresh(place: Place) -> dict[str, Any]:
    """Read everything again and compare."""
    _warm_imports()
    with measured(place) as found:
        found["fetched"] = merge(place, "items00", full=True)
    return {**found, "live": _live(place)}


def delta(place: Place) -> dict[str, Any]:
    """Read what is new; with `warm`, once before as well, unmeasured."""
    if place.options.get("warm"):
        place.control("append", **CHANGES)
        merge(place, "items00", full=False)
        place.control("append", **CHANGES)
    with measured(place) as found:
        found["fetched"] = merge(place, "items00", full=False)
    return {**found, "live": _live(place)}


def nothing(place: Place) -> dict[str, Any]:
    """Read what is new when nothing is, in a warm process."""
    merge(place, "items00", full=False)
    with measured(place) as found:
        found["fetched"] = merge(place, "items00", full=False)
    return {**found, "live": _live(place)}


def concurrent(place: Place) -> dict[str, Any]:
    """First loads of all tables at once."""
    _warm_imports()
    slugs = sorted(place.control("stats")["rows"])
    with measured(place) as found, ThreadPoolExecutor(place.options["threads"]) as pool:
        found["fetched"] = sum(pool.map(lambda slug: load_first(place, slug), slugs))
    return {**found, "live": sum(_live(place, slug) for slug in slugs)}
