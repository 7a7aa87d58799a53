"""Records beyond what PostgreSQL or a JSON reader can hold: each goes to quarantine, the others of the run pass."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from sync_pipelines.books.originals import Originals
from sync_pipelines.catalog.quarantine import get_quarantined
from sync_pipelines.demo.twin import TwinColumn, TwinTable
from sync_pipelines.destinations.postgres.copy import copy_refusing
from sync_pipelines.model.run import RunStatus
from sync_pipelines.model.staged import records_schema
from sync_pipelines_tests.world import ITEM_COLUMNS, World, item

# PostgreSQL moves no value of 24 bytes or less out of a row, and a row must fit into a page of 8 kB.
WIDE = (
    TwinColumn("item_number", "TEXT", is_business_key=True, is_nullable=False),
    *(TwinColumn(f"w{n}", "TEXT") for n in range(400)),
)
DEPTH = 20_000
STEPS = range(0, 200, 4)


def wide(number: int, longer: int) -> dict[str, Any]:
    """A record of 8 000 bytes and so many more."""
    return {
        "item_number": f"{number:03d}",
        **{f"w{n}": "x" * (20 if n < longer else 19) for n in range(400)},
    }


def live_keys(world: World) -> set[str]:
    return {
        key for (key,) in world.sql("SELECT item_number FROM erp.items WHERE NOT _bridge_deleted")
    }


def assert_kept_as_sent(world: World, table: TwinTable) -> None:
    page = table.page(None, 1, 1000)
    rows = [get_quarantined(world.database, row["uid"]) for row in world.quarantine()]
    assert all(bytes(row["record"]) in page for row in rows)
    assert None not in {row["page"] for row in rows}


def deep(key: bytes, letter: bytes = b"[") -> bytes:
    value = (
        b"[" * DEPTH + b"]" * DEPTH if letter == b"[" else b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
    )
    return b'{"item_description": ' + value + b', "item_number": "' + key + b'"}'


@pytest.mark.parametrize("few", [True, False])
def test_rows_too_wide_for_the_table_or_for_staging_go_to_quarantine_at_the_first_load(
    world: World, few: bool
) -> None:
    table = world.add(TwinTable("items", columns=WIDE, business_keys=("item_number",)))
    for number, longer in enumerate(STEPS):
        table.put(wide(number, longer if not few else 0))
    if few:
        table.put(wide(900, 400))
    result = world.sync(status=RunStatus.SUCCESS if few else RunStatus.REJECTED)
    kept, refused = (
        live_keys(world),
        {row["business_key"][0]: row["reason"] for row in world.quarantine()},
    )
    assert kept.isdisjoint(refused)
    assert len(kept) + len(refused) == len(STEPS) + few
    assert (result.ledger.inserted, result.ledger.quarantined) == (len(kept), len(refused))
    if not few:
        assert any("does not fit the table" in reason for reason in refused.values())
    assert all("row is too big" in reason for reason in refused.values())
    assert_kept_as_sent(world, table)
    again = world.sync(full_refresh=True, status=result.status)
    assert (again.ledger.unchanged, again.ledger.quarantined, again.ledger.deleted) == (
        len(kept),
        len(refused),
        0,
    )


def test_a_row_that_grows_beyond_the_table_keeps_its_last_good_version_in_a_delta(
    world: World,
) -> None:
    table = world.add(TwinTable("items", columns=WIDE, business_keys=("item_number",)))
    for number in STEPS:
        table.put({"item_number": f"{number:03d}", "w0": "small"})
    assert world.sync().ledger.inserted == len(STEPS)
    for longer in STEPS:
        table.put(wide(longer, longer))
    ledger = world.sync(status=RunStatus.REJECTED).ledger
    refused = {row["business_key"][0]: row["reason"] for row in world.quarantine()}
    assert any("does not fit the table" in reason for reason in refused.values())
    assert (ledger.updated + ledger.quarantined, ledger.quarantined) == (len(STEPS), len(refused))
    small = {key for (key,) in world.sql("SELECT item_number FROM erp.items WHERE w0 = 'small'")}
    assert small == set(refused)
    assert live_keys(world) == {f"{number:03d}" for number in STEPS}
    assert_kept_as_sent(world, table)


def test_a_row_without_room_for_the_mark_of_its_rejection_stays_unmarked_and_stops_nothing(
    world: World,
) -> None:
    table = world.add(TwinTable("items", columns=WIDE, business_keys=("item_number",)))
    for longer in STEPS:
        table.put(wide(longer, longer))
    world.sync(status=RunStatus.REJECTED)
    live = live_keys(world)
    for key in live:
        table.put_raw((key,), b'{"item_number": "%b", "w0": 7}' % key.encode())
    result = world.sync(status=RunStatus.REJECTED)
    marked = {
        key
        for (key,) in world.sql(
            "SELECT item_number FROM erp.items WHERE _bridge_rejected_at IS NOT NULL"
        )
    }
    assert marked < live
    assert live_keys(world) == live
    assert any(
        f"{len(live - marked)} rows whose newest record was rejected fill a page" in warning
        for warning in result.warnings
    )


def test_json_for_which_postgresql_would_need_a_gigabyte_is_refused_alone_and_kept_as_sent(
    world: World, tmp_path: Path
) -> None:
    world.add(TwinTable("items", columns=(ITEM_COLUMNS[0], TwinColumn("extra", "JSON")))).put(
        {"item_number": "A", "extra": [1]}
    )
    world.sync()
    entity, huge = world.entity(), b"[" + b"1," * 17_000_000 + b"1]"
    columns = [[0, 1], [None, None], ["h", "h"], ["SMALL", "HUGE"], ["[1]", huge.decode()]]
    records, originals = (
        pa.table(columns, schema=records_schema(entity)),
        Originals(lambda: tmp_path),
    )
    originals.add([{"arrival": 1, "page": 4, "position": 2, "record": b"as it was sent"}])
    with (
        closing(psycopg.connect(world.database.session_url())) as connection,
        connection.cursor() as cursor,
    ):
        assert copy_refusing(cursor, records.to_batches, entity, originals) == 1
        cursor.execute(
            f"SELECT page, position, business_key, reason, record FROM {entity.staging_schema}.{entity.rejects_table}"
        )
        ((page, position, key, reason, record),) = cursor.fetchall()
    assert (page, position, key, bytes(record)) == (4, 2, ["HUGE"], b"as it was sent")
    assert "PostgreSQL refuses it: invalid memory alloc request size" in reason


@pytest.mark.parametrize("letter", [b"[", b"{"])
def test_a_record_that_breaks_its_page_by_its_depth_is_refused_alone(
    world: World, letter: bytes
) -> None:
    table = world.add_items(30)
    table.put_raw(("DEEP",), deep(b"DEEP", letter), "29990101000000")
    table.put(item(77), "29990101000001")
    result = world.sync()
    assert (result.ledger.inserted, result.ledger.quarantined) == (31, 1)
    (row,) = world.quarantine()
    assert (row["business_key"], row["rowversion"]) == (["DEEP"], "29990101000000")
    assert "nested too deeply" in row["reason"]
    assert bytes(get_quarantined(world.database, row["uid"])["record"]).endswith(
        deep(b"DEEP", letter) + b"}"
    )
    world.assert_equal_to_truth()
    table.put(item(78), "29990101000002")
    assert world.sync().ledger.inserted == 1
    again = world.sync(full_refresh=True)
    assert (again.ledger.unchanged, again.ledger.quarantined, again.ledger.deleted) == (32, 1, 0)
    world.assert_equal_to_truth()


def test_a_key_or_rowversion_that_no_index_holds_is_refused_and_the_rest_passes(
    world: World,
) -> None:
    columns = (
        TwinColumn("item_number", "TEXT", is_business_key=True, is_nullable=False),
        *ITEM_COLUMNS[1:],
    )
    table = world.add_items(20, columns=columns)
    unlike = "".join(chr(0x4E00 + (place * 7919) % 20_000) for place in range(1000))
    table.put(item(50, item_number=unlike))
    table.put(item(51), unlike)
    result = world.sync(full_refresh=True)
    assert (result.ledger.inserted, result.ledger.quarantined) == (20, 2)
    assert all("2000 bytes that an index can hold" in row["reason"] for row in world.quarantine())


def test_a_row_that_an_index_of_somebody_cannot_hold_is_refused_alone(world: World) -> None:
    columns = (ITEM_COLUMNS[0], TwinColumn("body", "TEXT"))
    table = world.add_items(columns=columns)
    for number in range(5):
        table.put({"item_number": f"A{number}", "body": "small"})
    world.sync()
    world.sql('CREATE UNIQUE INDEX "theirs USING x" ON erp.items (body, item_number)')
    table.put(
        {
            "item_number": "BIG",
            "body": "".join(chr(0x4E00 + (place * 7919) % 20_000) for place in range(2500)),
        }
    )
    table.put({"item_number": "A9", "body": "fine"})
    ledger = world.sync().ledger
    assert (ledger.inserted, ledger.quarantined) == (1, 1)
    (row,) = world.quarantine()
    assert row["business_key"] == ["BIG"] and "2704" in row["reason"]
    assert_kept_as_sent(world, table)


def test_a_record_against_a_check_of_somebody_is_refused_alone_and_kept_as_it_was_sent(
    world: World,
) -> None:
    table = world.add_items(5)
    world.sync()
    checks = (
        "ADD CONSTRAINT \"no %s\" CHECK (base_uom <> 'BAD'), ADD remark text DEFAULT 'new' CHECK (remark IS"
        " NOT NULL)"
    )
    world.sql(f"ALTER TABLE erp.items {checks}")
    table.put_many(
        [item(2, base_uom="BAD"), item(3, base_uom="GOOD"), item(8, base_uom="BAD"), item(9)]
    )
    ledger = world.sync().ledger
    assert (ledger.inserted, ledger.updated, ledger.quarantined) == (1, 1, 2)
    assert {row["reason"] for row in world.quarantine()} == {
        "It does not fit the table: it violates the check constraint no %s"
    }
    assert_kept_as_sent(world, table)
    assert world.sql(
        "SELECT item_number, base_uom FROM erp.items WHERE _bridge_rejected_at IS NOT NULL"
    ) == [("A00002", "PCS")]
    table.put_many([item(2, base_uom="KG"), item(8, base_uom="KG")])
    assert world.sync().ledger.quarantined == 0
    world.assert_equal_to_truth()
    assert world.quarantine() == []


def test_a_check_on_an_empty_table_refuses_its_records_alone(world: World) -> None:
    table = world.add_items(0)
    world.sync()
    world.sql("ALTER TABLE erp.items ADD CONSTRAINT positive CHECK (weight_per_unit > 0.2)")
    table.put_many([item(number) for number in range(40)])
    ledger = world.sync().ledger
    assert (ledger.inserted, ledger.quarantined) == (38, 2)
    assert_kept_as_sent(world, table)
