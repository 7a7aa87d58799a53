import hashlib
import json
import threading
from decimal import Decimal

import pytest

from sync_pipelines.demo.twin import NULL_ROWVERSION, TwinColumn, TwinStore, truth_digest

from .helpers import item, items_table


def test_truth_is_the_last_state_of_each_key(table):
    table.put(item("A"))
    table.put(item("B", weight=Decimal("1.50")))
    table.put(item("A", "nut"))
    table.delete(("B",))
    table.put(item("C", weight=Decimal("0.1")))
    assert table.truth() == {("A",): item("A", "nut"), ("C",): item("C", weight=Decimal("0.1"))}
    assert len(table) == 2


def test_log_tells_every_operation_in_order(table):
    table.put(item("A"))
    table.put(item("A", "nut"))
    table.touch(("A",))
    table.delete(("A",))
    assert [(entry.op_id, entry.op, entry.key, entry.rowversion) for entry in table.log] == [
        (1, "insert", ("A",), "000001"),
        (2, "update", ("A",), "000002"),
        (3, "touch", ("A",), "000003"),
        (4, "delete", ("A",), "000003"),
    ]
    data = json.dumps(item("A", "nut"), separators=(",", ":")).encode()
    assert table.log[1].md5 == table.log[2].md5 == hashlib.md5(data).hexdigest()
    assert table.log[-1].op == "delete"
    assert len(table.log[1:3]) == 2


def test_put_many_equals_single_puts():
    one, many = items_table(), items_table()
    records = [item("A"), item("B"), item("A", "nut")]
    for record in records:
        one.put(record)
    assert many.put_many(records) == 3
    assert many.truth() == one.truth()
    assert list(many.log) == list(one.log)
    assert many.page() == one.page()


def test_late_commit_appears_below_what_was_already_read(table):
    pending = table.begin(item("LATE"))
    table.put(item("EARLY"))
    assert ("LATE",) not in table.truth()
    assert pending.commit() == "000001"
    assert b"LATE" not in table.page("000001")
    assert table.truth()["LATE",] == item("LATE")
    with pytest.raises(RuntimeError):
        pending.commit()


def test_rolled_back_write_never_shows(table):
    table.begin(item("A")).rollback()
    assert len(table) == len(table.log) == 0


def test_record_without_key_is_refused_by_put(table):
    with pytest.raises(KeyError, match="put_raw"):
        table.put({"item_description": "no key"})


@pytest.mark.parametrize(
    "data",
    [
        b'{"item_number":"P","weight_per_unit":NaN}',
        b'{"item_number":"P","item_description":"\\ud800"}',
        b'{"item_number":"P","item_description":"a\\u0000b"}',
        b'{"item_number":"P","item_description":"\xff\xfe"}',
        b'{"item_number":"P","weight_per_unit":1e400}',
        b'{"item_number":"P","weight_per_unit":123456789012345678901234567890}',
        b'{"item_number":"P"',
    ],
)
def test_poison_bytes_go_out_as_given_and_stay_out_of_truth(client, table, data):
    table.put(item("GOOD"))
    table.put_raw(("P",), data)
    assert b'"data":' + data + b"}" in client.data().body
    assert table.truth() == {("GOOD",): item("GOOD")}
    assert table.poison_keys == {("P",)}
    table.touch(("P",))
    assert data in client.data(rowversion_gt="000002").body


@pytest.mark.parametrize("keys", [b"{}", b'{"item_number":null}', b'{"item_number":1}', b"null"])
def test_poison_keys_go_out_as_given(client, table, keys):
    table.put_raw(("ghost",), b'{"item_description":"x"}', oracle_keys_json=keys)
    assert b'{"oracle_keys":' + keys + b"," in client.data().body


def test_good_row_cures_a_poisoned_key(table):
    table.put_raw(("A",), b"NaN")
    table.put(item("A"))
    assert table.truth() == {("A",): item("A")}
    assert table.poison_keys == set()
    assert b"NaN" not in table.page()


def test_good_duplicates_all_go_out_and_the_highest_counts(table):
    table.put(item("A", "old"), "000005")
    table.put_raw(
        ("A",), json.dumps(item("A", "new")).encode(), "000009", duplicate=True, poison=False
    )
    table.put_raw(
        ("A",), json.dumps(item("A", "older")).encode(), "000002", duplicate=True, poison=False
    )
    assert len(table) == table.page().count(b'"oracle_keys"') == 3
    assert table.truth() == {("A",): item("A", "new")}
    table.delete(("A",))
    assert len(table) == 0


def test_poison_duplicate_leaves_the_good_row_true(table):
    table.put(item("A"))
    table.put_raw(("A",), b"NaN", duplicate=True)
    assert table.truth() == {("A",): item("A")}
    assert table.poison_keys == {("A",)}


def test_touch_of_a_duplicated_key_keeps_its_twins(table):
    table.put(item("A"))
    table.put_raw(("A",), b"{}", duplicate=True)
    table.touch(("A",))
    assert len(table) == 2


def test_rowversion_column_repeats_the_version():
    table = items_table(rowversion_column="erp_rowversion")
    table.put(item("A"))
    assert table.truth()["A",]["erp_rowversion"] == "000001"
    table.touch(("A",))
    assert table.truth()["A",]["erp_rowversion"] == "000002"
    table.put(item("B"), NULL_ROWVERSION)
    assert table.truth()["B",]["erp_rowversion"] is None


def test_digest_ignores_order_and_trailing_zeros_but_no_value():
    one = {("A",): {"x": Decimal("1.50"), "y": 1}, ("B",): {"x": None}}
    other = {("B",): {"x": None}, ("A",): {"y": 1, "x": Decimal("1.5")}}
    assert truth_digest(one) == truth_digest(other)
    assert truth_digest(one) != truth_digest({**one, ("A",): {"x": Decimal("1.51"), "y": 1}})
    assert truth_digest(one) != truth_digest({**one, ("A",): {"x": Decimal("1.50"), "y": "1"}})


def test_digest_of_a_table_is_the_digest_of_its_truth(filled):
    assert filled.truth_digest() == truth_digest(filled.truth())


def test_added_column_is_declared_and_filled(client, filled):
    filled.add_column(TwinColumn("colour", "VARCHAR2(10)"), "red")
    assert client.get("/api/v1/apis").json[0]["columns"][-1]["name"] == "colour"
    assert {row["data"]["colour"] for row in client.data().rows} == {"red"}
    assert client.data(rowversion_gt="000025").rows == []
    assert filled.log[-1].op == "rewrite"


def test_schema_change_with_touch_moves_versions(client, filled):
    filled.drop_column("item_description", touch=True)
    rows = client.data(rowversion_gt="000025").rows
    assert len(rows) == 25
    assert all("item_description" not in row["data"] for row in rows)


def test_changed_column_changes_declaration_and_on_request_values(filled):
    filled.change_column("weight_per_unit", "VARCHAR2(20)")
    assert filled.column("weight_per_unit").data_type == "VARCHAR2(20)"
    assert filled.truth()["A00",]["weight_per_unit"] == 1
    filled.change_column("weight_per_unit", is_nullable=False, convert=str)
    assert filled.truth()["A00",]["weight_per_unit"] == "1"
    assert not filled.column("weight_per_unit").is_nullable


def test_business_key_can_change_only_to_a_unique_one(client, filled):
    with pytest.raises(ValueError, match="not unique"):
        filled.set_business_keys(["item_description"])
    filled.set_business_keys(["item_number", "item_description"])
    assert ("A00", "bolt") in filled.truth()
    assert client.data(page_size=1).rows[0]["oracle_keys"] == {
        "item_number": "A00",
        "item_description": "bolt",
    }
    assert client.get("/api/v1/apis").json[0]["business_key_columns"] == [
        "item_number",
        "item_description",
    ]


def test_schema_change_leaves_poison_alone(table):
    table.put_raw(("P",), b"NaN")
    table.add_column(TwinColumn("colour", "TEXT"))
    assert b'"data":NaN' in table.page()


def test_removed_table_can_stay_listed(twin, client, filled):
    twin.store.remove("items", still_listed=True)
    assert client.get("/api/v1/apis").json[0]["slug"] == "items"
    assert client.data().status == 404
    twin.store.add(filled)
    assert len(client.get("/api/v1/apis").json) == 1


def test_concurrent_writers_lose_nothing(table):
    def write(worker):
        for number in range(200):
            table.put(item(f"{worker}-{number}"))
            table.page(page_size=5)

    workers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(table.truth()) == len(table.log) == 800
    assert len({entry.rowversion for entry in table.log}) == 800


def test_store_keeps_tables_in_order_of_addition():
    store = TwinStore()
    table = store.add(items_table())
    assert "items" in store
    assert store["items"] is table
    assert store.get("other") is None
    assert len(store) == 1
