import pytest

from sync_pipelines.demo.twin import truth_digest

from .helpers import item


def test_tables_tells_row_counts(client, filled):
    assert client.get("/_twin/tables").json == {"items": {"rows": 25, "log": 25}}


def test_put_and_delete_change_the_table(client, table):
    assert client.send("POST", "/_twin/put/items", [item("A"), item("B"), item("C")]).json == {
        "put": 3
    }
    assert client.send("POST", "/_twin/delete/items", [["A"], {"item_number": "B"}, "C"]).json == {
        "deleted": 3
    }
    assert table.truth() == {}


@pytest.mark.parametrize("seed", range(5))
def test_mutate_does_what_it_reports(client, filled, seed):
    before = filled.truth()
    request = {"changes": 6, "inserts": 3, "deletes": 2, "seed": seed}
    report = client.send("POST", "/_twin/mutate/items", request).json
    after = filled.truth()
    assert {tuple(key) for key in report["deleted"]} == set(before) - set(after)
    assert {tuple(key) for key in report["inserted"]} == set(after) - set(before)
    assert {tuple(key) for key in report["changed"]} == {
        key for key in before if key in after and before[key] != after[key]
    }
    assert [len(report[name]) for name in ("changed", "inserted", "deleted")] == [6, 3, 2]


def test_mutate_of_an_empty_table_can_insert(client, table):
    assert (
        len(
            client.send("POST", "/_twin/mutate/items", {"changes": 5, "inserts": 2}).json[
                "inserted"
            ]
        )
        == 2
    )
    assert len(table) == 2


def test_fault_can_be_set_and_cleared(client, filled):
    client.send("POST", "/_twin/fault", {"kind": "data", "status": 503, "times": None})
    assert client.data().status == 503
    client.send("DELETE", "/_twin/fault")
    assert client.data().status == 200
    assert [request["status"] for request in client.get("/_twin/requests").json] == [503, 200]


def test_truth_is_a_digest_or_on_request_everything(client, filled):
    count, md5 = truth_digest(filled.truth())
    assert client.get("/_twin/truth/items").json == {"count": count, "md5": md5, "poison_keys": []}
    assert len(client.get("/_twin/truth/items", full=1).json["records"]) == 25


def test_columns_can_be_added_changed_and_dropped(client, filled):
    def column(**value):
        return client.send("POST", "/_twin/column/items", value)

    added = column(action="add", name="colour", data_type="TEXT", default="red").json
    assert added["columns"][-1]["name"] == "colour"
    assert (
        column(action="change", name="colour", data_type="VARCHAR(9)").json["columns"][-1][
            "data_type"
        ]
        == "VARCHAR(9)"
    )
    assert len(column(action="drop", name="colour").json["columns"]) == 3
    assert column(action="paint", name="colour").status == 400


@pytest.mark.parametrize(
    ("method", "path", "value", "status"),
    [
        ("POST", "/_twin/put/nothing", [], 404),
        ("POST", "/_twin/nothing", None, 404),
        ("POST", "/_twin/put/items", [{"x": 1}], 400),
        ("POST", "/_twin/delete/items", [["nobody"]], 400),
        ("POST", "/_twin/fault", {"statos": 1}, 400),
        ("POST", "/_twin/mutate/items", {"deletions": 1}, 400),
    ],
)
def test_wrong_control_requests_are_refused(client, method, path, value, status):
    response = client.send(method, path, value)
    assert response.status == status
    assert "detail" in response.json


def test_control_requests_are_not_in_the_request_log(twin, client):
    client.get("/_twin/tables")
    assert twin.requests_log == []
