"""Bad records: each goes to quarantine with its reason and its bytes, the others pass."""

from __future__ import annotations

import pytest

from sync_pipelines.catalog.quarantine import get_quarantined, list_quarantine
from sync_pipelines.demo.twin import NULL_ROWVERSION, TwinColumn, TwinTable
from sync_pipelines.model.run import RunStatus
from sync_pipelines_tests.world import ITEM_COLUMNS, World, item

COLUMNS = (
    *ITEM_COLUMNS,
    TwinColumn("stock", "BIGINT"),
    TwinColumn("price", "NUMERIC(8, 2)"),
    TwinColumn("ratio", "DOUBLE PRECISION"),
    TwinColumn("seen_at", "TIMESTAMPTZ"),
    TwinColumn("is_sold", "BOOLEAN"),
    TwinColumn("code", "RAW(2)"),
    TwinColumn("notes", "JSON"),
    TwinColumn("owner", "VARCHAR2(3)", is_nullable=False),
)
DEEP = b"[" * 150 + b"]" * 150
# Members of `data` beside the key and the owner, the failing column and a word of the reason.
BAD: dict[str, tuple[bytes, str, str]] = {
    "text in an integer": (b'"stock": "many"', "stock", "not a bigint"),
    "fraction in an integer": (b'"stock": 1.5', "stock", "whole number"),
    "boolean in an integer": (b'"stock": true', "stock", "not a bigint"),
    "number in a text": (b'"item_description": 7', "item_description", "not a text"),
    "object in a text": (b'"item_description": {"a": 1}', "item_description", "not a text"),
    "text in a boolean": (b'"is_sold": "yes"', "is_sold", "not a boolean"),
    "NUL": (b'"item_description": "a\\u0000b"', "item_description", "NUL"),
    "lone surrogate": (b'"item_description": "\\ud800"', "item_description", "surrogate"),
    "invalid UTF-8": (b'"item_description": "\xff\xfe"', "item_description", "UTF-8"),
    "more than 64 bit": (b'"stock": 9223372036854775808', "stock", "64 bits"),
    "thousands of digits": (b'"stock": ' + b"9" * 5000, "stock", "whole number"),
    "too long": (b'"base_uom": "12345678901"', "base_uom", "more than the 10 characters"),
    "NaN": (b'"ratio": NaN', "ratio", "NaN"),
    "Infinity": (b'"ratio": -Infinity', "ratio", "Infinity"),
    "NaN in a numeric": (b'"price": NaN', "price", "NaN"),
    "a double beyond doubles": (b'"ratio": 1e400', "ratio", "beyond"),
    "too many whole digits": (b'"price": 1234567.00', "price", "too large"),
    "too many decimals": (b'"price": 1.005', "price", "more than 2 digits"),
    "a day that is none": (b'"seen_at": "2024-02-30T00:00:00Z"', "seen_at", "calendar"),
    "a leap second": (b'"seen_at": "2024-06-30T23:59:60Z"', "seen_at", "calendar"),
    "year 10000": (b'"seen_at": "10000-01-01T00:00:00Z"', "seen_at", "not a timestamp"),
    "nanoseconds": (b'"seen_at": "2024-01-01T00:00:00.123456789Z"', "seen_at", "finer"),
    "epoch seconds": (b'"seen_at": 1700000000', "seen_at", "not a timestamp"),
    "odd hexadecimal digits": (b'"code": "abc"', "code", "hexadecimal"),
    "too many bytes": (b'"code": "aabbcc"', "code", "more than the 2"),
    "JSON with NUL": (b'"notes": {"a": "\\u0000"}', "notes", "NUL"),
    "JSON with a lone surrogate": (b'"notes": ["\\udfff"]', "notes", "surrogate"),
    "JSON with NaN": (b'"notes": [NaN]', "notes", "NaN"),
    "JSON too deep": (b'"notes": ' + DEEP, "notes", "deeper"),
}


def stocked(world: World) -> TwinTable:
    table = TwinTable("items", columns=COLUMNS)
    for number in range(4):
        table.put(item(number, stock=number, owner="abc", notes={"n": number}))
    return world.add(table)


def record(key: bytes, members: bytes) -> bytes:
    return b'{"item_number": "' + key + b'", "owner": "me", ' + members + b"}"


def assert_quarantined(world: World, table: TwinTable, data: bytes, **expected: object) -> None:
    (row,) = world.quarantine()
    assert row["path"] == "erp/items"
    assert row["run_uid"] == world.runs()[0]["uid"]
    assert (row["page"], row["position"]) == (1, 4)
    assert {name: row[name] for name in expected} == expected
    stored = bytes(get_quarantined(world.database, row["uid"])["record"])
    assert stored.endswith(b'"data":' + data + b"}")
    assert stored in table.page(None, 1, 1000)


def test_every_kind_of_bad_value_sets_its_record_aside_and_the_others_pass(world: World) -> None:
    table = stocked(world)
    sent = {
        kind: record(f"B{place:02d}".encode(), members)
        for place, (kind, (members, *_)) in enumerate(BAD.items())
    }
    for place, data in enumerate(sent.values()):
        table.put_raw((f"B{place:02d}",), data, f"2999010100{place:04d}")
    result = world.sync(status=RunStatus.REJECTED)
    assert result.ledger.inserted == 4
    found = {row["business_key"][0]: row for row in world.quarantine()}
    assert len(found) == len(BAD)
    for place, (kind, (_, column, reason)) in enumerate(BAD.items()):
        row = found[f"B{place:02d}"]
        assert (row["column_name"], row["run_uid"]) == (column, result.uid), kind
        assert reason in row["reason"], kind
        assert row["page"] is not None, kind
        assert row["position"] is not None, kind
        stored = bytes(get_quarantined(world.database, row["uid"])["record"])
        assert stored.endswith(b'"data":' + sent[kind] + b"}"), kind
    world.assert_equal_to_truth()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"owner": "me"}', "key is null"),
        (b'{"item_number": null, "owner": "me"}', "key is null"),
        (b'{"item_number": 17, "owner": "me"}', "not a text"),
        (b'["no", "object"]', "not an object"),
    ],
)
def test_a_record_without_usable_key_is_set_aside(world: World, data: bytes, reason: str) -> None:
    table = stocked(world)
    table.put_raw(("none",), data)
    assert world.sync().ledger.quarantined == 1
    assert_quarantined(world, table, data, business_key=None)
    assert reason in world.quarantine()[0]["reason"]
    world.assert_equal_to_truth()


def test_a_null_in_a_column_that_allows_none_is_set_aside_with_its_key(world: World) -> None:
    table = stocked(world)
    table.put_raw(("BAD",), b'{"item_number": "BAD"}')
    world.sync()
    assert_quarantined(
        world, table, b'{"item_number": "BAD"}', column_name="owner", business_key=["BAD"]
    )


def test_a_record_without_rowversion_is_a_record_like_the_others(world: World) -> None:
    table = stocked(world)
    table.put(item(77, owner="me"), NULL_ROWVERSION)
    result = world.sync(full_refresh=True)
    assert (result.ledger.inserted, result.ledger.quarantined) == (5, 0)
    assert any("1 records have no row_version" in warning for warning in result.warnings)
    world.assert_equal_to_truth()


def test_json_numbers_that_only_postgresql_refuses_are_all_found_and_set_aside(
    world: World,
) -> None:
    table = stocked(world)
    numbers = [b"1e999999", b"-1E+131073", b"[1, 1e200000]", b'{"a": 1e999999}'] * 8
    for place, number in enumerate(numbers):
        table.put_raw(
            (f"B{place}",),
            record(b"B%d" % place, b'"notes": ' + number),
            f"299901010001{place:02d}",
        )
        table.put(item(100 + place, owner="me"), f"299901010001{place:02d}")
    result = world.sync(status=RunStatus.REJECTED)
    assert result.ledger.inserted == 4 + len(numbers)
    assert {row["business_key"][0]: row["run_uid"] for row in world.quarantine()} == {
        f"B{place}": result.uid for place in range(len(numbers))
    }
    world.assert_equal_to_truth()
    again = world.sync(full_refresh=True, status=RunStatus.REJECTED)
    assert (again.ledger.written, len(world.quarantine())) == (0, len(numbers))
    assert all(row["times_seen"] > 1 for row in world.quarantine())


def test_a_record_that_only_postgresql_refuses_is_kept_byte_for_byte(world: World) -> None:
    table = stocked(world)
    data = record(b"BAD", b'"notes": 1e999999')
    table.put_raw(("BAD",), data)
    world.sync()
    assert_quarantined(world, table, data)


def test_the_same_poison_again_is_seen_again_and_not_kept_twice(world: World) -> None:
    table = stocked(world)
    table.put_raw(("BAD",), record(b"BAD", b'"stock": "x"'))
    for times in (1, 2, 3):
        world.sync(full_refresh=True)
        (row,) = world.quarantine()
        assert row["times_seen"] == times
        assert row["run_uid"] == world.runs()[0]["uid"]
        assert (row["last_seen_at"] > row["first_seen_at"]) is (times > 1)


def test_the_same_poison_twice_in_one_answer_is_one_row_seen_by_one_run(world: World) -> None:
    table = stocked(world)
    for place in ("one", "two"):
        table.put_raw((place,), record(b"BAD", b'"stock": "x"'), "29990101000000", b"{}")
    table.put(item(9, owner="me"), "29990101000001")
    ledger = world.sync().ledger
    assert (ledger.quarantined, ledger.superseded) == (1, 1)
    assert [row["times_seen"] for row in world.quarantine()] == [1]


def test_another_poison_of_the_same_key_is_another_row(world: World) -> None:
    table = stocked(world)
    for value in (b'"stock": "x"', b'"stock": "y"'):
        table.put_raw(("BAD",), record(b"BAD", value))
        world.sync(full_refresh=True)
    (_, older) = sorted(
        list_quarantine(world.database, "erp", "items", with_resolved=True),
        key=lambda row: row["resolution"] or "",
    )
    assert older["resolution"] == "vanished", "the source has the newer poison only"
    assert [row["uid"] for row in world.quarantine()] != [older["uid"]]


def test_a_bad_record_that_is_gone_from_the_source_leaves_quarantine_with_a_full_read(
    world: World,
) -> None:
    table = stocked(world)
    table.put_raw(("BAD",), record(b"BAD", b'"stock": "x"'))
    table.put_raw(("NOKEY",), b'{"item_number": null, "owner": "me"}')
    world.sync()
    assert len(world.quarantine()) == 2
    table.delete(("BAD",))
    table.delete(("NOKEY",))
    world.sync()
    assert len(world.quarantine()) == 2, "a delta cannot tell"
    world.sync(full_refresh=True)
    assert world.quarantine() == []


def test_what_a_person_works_on_stays_open_although_the_source_has_it_no_more(world: World) -> None:
    table = stocked(world)
    table.put_raw(("BAD",), record(b"BAD", b'"stock": "x"'))
    world.sync()
    world.sql("UPDATE bridge.quarantine SET edited_record = record")
    table.delete(("BAD",))
    world.sync(full_refresh=True)
    assert len(world.quarantine()) == 1


def test_a_bad_record_between_two_pages_is_gone_only_when_two_reads_missed_it(world: World) -> None:
    table = world.add(
        TwinTable("items", columns=COLUMNS, has_rowversion=False, delta_strategy="full")
    )
    table.put(item(1, owner="me"))
    table.put_raw(("BAD",), record(b"BAD", b'"stock": "x"'))
    world.sync()
    table.delete(("BAD",))
    world.sync()
    assert len(world.quarantine()) == 1
    world.sync()
    assert world.quarantine() == []


def test_a_full_refresh_keeps_the_row_of_a_key_in_quarantine(world: World) -> None:
    table = stocked(world)
    world.sync()
    table.put_raw(("A00001",), record(b"A00001", b'"stock": "x"'))
    table.delete(("A00002",))
    result = world.sync(full_refresh=True)
    assert (result.ledger.deleted, result.ledger.quarantined) == (1, 1)
    assert world.rows()[("A00001",)]["stock"] == 1
    world.assert_equal_to_truth()


def test_a_key_that_postgresql_refused_is_not_deleted_either(world: World) -> None:
    table = stocked(world)
    world.sync()
    table.put_raw(("A00001",), record(b"A00001", b'"notes": 1e999999'))
    result = world.sync(full_refresh=True)
    assert (result.ledger.deleted, result.ledger.quarantined) == (0, 1)
    assert ("A00001",) in world.rows()


def test_a_repaired_record_replaces_the_old_row(world: World) -> None:
    table = stocked(world)
    table.put_raw(("A00001",), record(b"A00001", b'"stock": "x"'))
    assert world.sync().ledger.inserted == 3
    table.put(item(1, stock=5, owner="me"))
    assert world.sync().ledger.inserted == 1
    assert world.rows()[("A00001",)]["stock"] == 5


def test_a_page_of_nothing_but_poison_does_not_stop_the_run(world: World) -> None:
    table = world.add(TwinTable("items", columns=COLUMNS))
    for number in range(25):
        key = f"B{number:03d}"
        table.put_raw((key,), record(key.encode(), b'"stock": "x"'), f"202401010000{number:02d}")
    table.put(item(1, owner="me"), "20240101000030")
    result = world.sync(status=RunStatus.REJECTED)
    assert (result.ledger.inserted, len(world.quarantine())) == (1, 25)
    world.assert_equal_to_truth()


def test_the_entity_goes_on_after_poison_and_its_cursor_passes_it(world: World) -> None:
    table = stocked(world)
    world.set(lookback_seconds=0)
    table.put_raw(("BAD",), record(b"BAD", b'"stock": "x"'), "20990101000000")
    table.put(item(50, owner="me"), "20990101000001")
    world.sync()
    assert world.entity().position.cursor == "20990101000000"
    table.put(item(51, owner="me"), "20990101000002")
    again = world.sync()
    assert (again.ledger.inserted, again.ledger.quarantined) == (1, 0)
    world.assert_equal_to_truth()


def test_keys_that_look_alike_are_different_rows(world: World) -> None:
    table = stocked(world)
    for key in ("abc", "ABC", "abc ", " abc", "e\u0301", "\u00e9", "1", "01", ""):
        table.put(item(1, owner="me") | {"item_number": key})
    world.sync()
    assert world.sync(full_refresh=True).ledger.written == 0
    world.assert_equal_to_truth()


def test_values_that_csv_and_sql_could_misread_arrive_unharmed(world: World) -> None:
    table = stocked(world)
    texts = [
        '"',
        "'",
        ",",
        "\n",
        "\r\n",
        "\\",
        "\\.",
        "\\N",
        "%s",
        "%",
        "{}",
        "=cmd",
        "NULL",
        "",
        " ",
        "$1",
        "--",
        "\x1b[31m",
    ]
    for number, text in enumerate(texts):
        table.put(item(100 + number, item_description=text, owner="me"))
    assert world.sync().ledger.inserted == 4 + len(texts)
    world.assert_equal_to_truth()


def test_undeclared_fields_are_named_and_nothing_else_happens(world: World) -> None:
    table = stocked(world)
    table.put_raw(("A1",), record(b"A1", b'"surprise": 1'), poison=False)
    result = world.sync()
    assert (result.undeclared, result.ledger.quarantined) == (("surprise",), 0)


def test_a_good_version_of_the_key_resolves_what_lay_in_quarantine(world: World) -> None:
    table = stocked(world)
    table.put_raw(("BAD",), record(b"BAD", b'"stock": "x"'))
    world.sync()
    assert len(world.quarantine()) == 1
    table.put({**item(0, owner="me"), "item_number": "BAD"})
    assert world.sync().ledger.inserted == 1
    assert world.quarantine() == []
    [resolved] = list_quarantine(world.database, "erp", "items", with_resolved=True)
    assert resolved["resolved_at"] is not None
    world.assert_equal_to_truth()


def test_a_record_that_turns_bad_again_is_open_again(world: World) -> None:
    table = stocked(world)
    for _ in range(2):
        table.put_raw(("BAD",), record(b"BAD", b'"stock": "x"'), "29990101000000", b"{}")
        world.sync(full_refresh=True)
        assert len(world.quarantine()) == 1
        table.put({**item(0, owner="me"), "item_number": "BAD"}, "29990101000001")
        world.sync(full_refresh=True)
        assert world.quarantine() == []


def test_a_first_load_straight_into_the_table_resolves_too(world: World) -> None:
    table = stocked(world)
    for number in range(4):
        table.delete((f"A{number:05d}",))
    table.put_raw(("BAD",), record(b"BAD", b'"stock": "x"'))
    world.sync(status=RunStatus.REJECTED)
    assert world.rows() == {}
    table.put({**item(0, owner="me"), "item_number": "BAD"})
    assert world.sync(full_refresh=True).ledger.inserted == 1
    assert world.quarantine() == []
