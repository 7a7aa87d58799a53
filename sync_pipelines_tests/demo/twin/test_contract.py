from decimal import Decimal
from email.utils import parsedate_to_datetime

import pytest

from sync_pipelines.demo.twin import TwinServer, TwinStore

from .helpers import TOKEN, Client, item, items_table


def test_discovery_lists_the_table_in_the_words_of_the_contract(client):
    (api,) = client.get("/api/v1/apis").json
    assert api["slug"] == "items"
    assert api["business_key_columns"] == ["item_number"]
    assert api["delta_strategy"] == "rowversion"
    assert api["columns"][0] == {
        "name": "item_number",
        "data_type": "VARCHAR2(50)",
        "is_nullable": False,
        "is_business_key": True,
    }


def test_extra_members_reach_the_description(client, table):
    table.extra["rowversion_codec"] = "integer"
    assert client.get("/api/v1/apis").json[0]["rowversion_codec"] == "integer"


def test_row_has_keys_version_and_data(client, table):
    table.put(item("ABC123", weight=Decimal("12345.60")))
    response = client.data()
    assert response.rows == [
        {
            "oracle_keys": {"item_number": "ABC123"},
            "row_version": "000001",
            "data": {
                "item_number": "ABC123",
                "item_description": "bolt",
                "weight_per_unit": 12345.6,
            },
        }
    ]
    assert b'"weight_per_unit":12345.60}' in response.body


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", "Basic dGVzdA==", f"bearer{TOKEN}", "Bearer "]
)
@pytest.mark.parametrize(
    "path", ["/api/v1/apis", "/api/v1/data/items", "/_twin/tables", "/nothing"]
)
def test_without_the_token_every_endpoint_answers_401(twin, path, header):
    response = Client(twin.port, token=None).get(
        path, headers={"Authorization": header} if header else {}
    )
    assert response.status == 401
    assert "detail" in response.json


def test_health_needs_no_token(twin):
    assert Client(twin.port, token=None).get("/_twin/health").json == {"status": "ok"}


def test_unknown_slug_and_unknown_endpoint_answer_404(client):
    assert client.data("nothing").status == 404
    assert "nothing" in client.data("nothing").json["detail"]
    assert client.get("/api/v2/apis").status == 404


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", "", "²", "9" * 5000])
@pytest.mark.parametrize("name", ["page", "page_size"])
def test_bad_page_numbers_answer_400(client, name, value):
    assert client.data(**{name: value}).status == 400


def test_integer_table_refuses_a_version_that_is_no_number():
    store = TwinStore()
    store.add(items_table(comparator="integer"))
    with TwinServer(store, TOKEN) as twin:
        assert Client(twin.port).data(rowversion_gt="abc").status == 400


def test_answers_carry_a_date_and_the_clock_can_be_skewed(client):
    assert client.data().headers["Date"]
    with TwinServer(TwinStore(), TOKEN, clock=lambda: 0.0) as skewed:
        date = parsedate_to_datetime(Client(skewed.port).get("/api/v1/apis").headers["Date"])
    assert date.year == 1970


def test_connection_is_kept_alive_over_errors(client, filled):
    client.data()
    sock = client.connection.sock
    client.data("nothing")
    client.data(page=0)
    assert len(client.data().rows) == 25
    assert client.connection.sock is sock


def test_gzip_is_used_only_when_the_server_may_and_the_caller_asks(client, filled):
    import gzip

    asks = {"Accept-Encoding": "gzip"}
    assert client.get("/api/v1/data/items", headers=asks).headers["Content-Encoding"] is None
    store = TwinStore()
    store.add(filled)
    with TwinServer(store, TOKEN, gzip=True) as twin:
        zipped = Client(twin.port)
        plain = zipped.data().body
        packed = zipped.get("/api/v1/data/items", headers=asks)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain


def test_stopped_twin_refuses_and_comes_back_on_its_port(twin, client, filled):
    client.data()
    twin.stop()
    with pytest.raises(OSError):
        client.data()
    client.connection.close()
    with pytest.raises(ConnectionRefusedError):
        client.data()
    client.connection.close()
    twin.start()
    assert len(client.data().rows) == 25


def test_request_log_knows_what_was_asked(twin, client, filled):
    client.get("/api/v1/apis")
    size = len(client.data(rowversion_gt="000003", page=2, page_size=7).body)
    apis, data = twin.requests_log
    assert (apis.kind, apis.status) == ("apis", 200)
    assert (data.slug, data.page, data.page_size, data.rowversion_gt) == ("items", 2, 7, "000003")
    assert (data.status, data.bytes) == (200, size)


def test_latency_delays_every_answer(table):
    import time

    store = TwinStore()
    store.add(table)
    with TwinServer(store, TOKEN, latency_seconds=0.1) as twin:
        started = time.monotonic()
        Client(twin.port).data()
    assert time.monotonic() - started >= 0.1
