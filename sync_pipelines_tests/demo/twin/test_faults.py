import gzip
import http.client
import json
import socket
import time

import pytest

from sync_pipelines.demo.twin import Fault

from .helpers import TOKEN, Client, item


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 410, 429, 500, 502, 503, 504])
def test_status_comes_once_with_an_error_body(client, filled, faults, status):
    fault = faults.add(Fault(status=status))
    response = client.data()
    assert response.status == status
    assert "detail" in response.json
    assert client.data().status == 200
    assert faults.fired(fault) == 1


@pytest.mark.parametrize("retry_after", ["2", "Wed, 21 Oct 2065 07:28:00 GMT", "999999999"])
def test_429_carries_any_retry_after(client, faults, retry_after):
    faults.add(Fault(status=429, headers={"Retry-After": retry_after}))
    assert client.data().headers["Retry-After"] == retry_after


def test_fault_hits_only_the_request_it_is_meant_for(client, filled, faults):
    faults.add(Fault(kind="data", slug="items", page=3, status=401))
    assert client.get("/api/v1/apis").status == 200
    assert [client.data(page=page, page_size=5).status for page in (1, 2, 3, 3)] == [
        200,
        200,
        401,
        200,
    ]


def test_fault_can_wait_for_the_nth_request_and_fire_several_times(client, filled, faults):
    faults.add(Fault(nth=3, times=2, status=500))
    assert [client.data().status for _ in range(6)] == [200, 200, 500, 500, 200, 200]


def test_fault_for_ever_lasts_until_cleared(client, filled, faults):
    fault = faults.add(Fault(times=None, status=503))
    assert {client.data().status for _ in range(4)} == {503}
    faults.clear()
    assert client.data().status == 200
    assert faults.fired(fault) == 4


def test_first_fitting_fault_that_is_not_used_up_wins(client, faults):
    faults.add(Fault(status=500, name="first"))
    faults.add(Fault(status=502, name="second"))
    assert [client.data().status for _ in range(3)] == [500, 502, 200]
    assert [request.fault for request in faults.requests_log] == ["first", "second", None]


def test_delay_holds_the_answer_back(client, filled, faults):
    faults.add(Fault(delay_seconds=0.2))
    started = time.monotonic()
    assert len(client.data().rows) == 25
    assert time.monotonic() - started >= 0.2


def test_delay_longer_than_the_callers_patience_times_out(twin, faults):
    faults.add(Fault(delay_seconds=0.5))
    with pytest.raises(TimeoutError):
        Client(twin.port, timeout=0.1).data()


def test_dripped_body_is_slow_and_whole(client, filled, faults):
    faults.add(Fault(drip_bytes=500, drip_interval_seconds=0.02))
    started = time.monotonic()
    assert len(client.data().rows) == 25
    assert time.monotonic() - started >= 0.1


def test_cut_body_ends_in_a_reset_with_an_honest_length(client, filled, faults):
    size = len(client.data().body)
    faults.add(Fault(cut_at_byte=100))
    client.connection.request("GET", "/api/v1/data/items", headers=client.headers)
    answer = client.connection.getresponse()
    assert int(answer.headers["Content-Length"]) == size
    with pytest.raises(ConnectionResetError):
        answer.read()
    client.connection.close()
    assert len(client.data().rows) == 25


def test_bytes_before_the_cut_arrive(twin, filled, faults):
    faults.add(Fault(cut_at_byte=100))
    with socket.create_connection(("127.0.0.1", twin.port), timeout=5) as raw:
        raw.sendall(
            f"GET /api/v1/data/items HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        )
        got = b""
        with pytest.raises(ConnectionResetError):
            while piece := raw.recv(65536):
                got += piece
    assert len(got.partition(b"\r\n\r\n")[2]) == 100


def test_cut_can_be_polite(client, filled, faults):
    faults.add(Fault(cut_at_byte=100, cut_with_reset=False))
    with pytest.raises(http.client.IncompleteRead) as caught:
        client.data()
    assert len(caught.value.partial) == 100


def test_truncated_json_has_the_right_length(client, filled, faults):
    faults.add(Fault(truncate_at_byte=100))
    response = client.data()
    assert len(response.body) == int(response.headers["Content-Length"]) == 100
    with pytest.raises(json.JSONDecodeError):
        _ = response.json


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'{"items":[]}', b"<html>maintenance</html>", b'{"rows":null}']
)
def test_body_can_be_anything_under_200(client, filled, faults, body):
    faults.add(Fault(body=body))
    response = client.data()
    assert (response.status, response.body) == (200, body)


def test_empty_page_in_the_middle(client, filled, faults):
    faults.add(Fault(page=2, empty_rows=True))
    assert [len(client.data(page=page, page_size=10).rows) for page in (1, 2, 3)] == [10, 0, 5]


def test_redirect_names_another_host(client, faults):
    faults.add(Fault(redirect_to="http://169.254.169.254/latest"))
    response = client.data()
    assert (response.status, response.headers["Location"]) == (302, "http://169.254.169.254/latest")
    faults.add(Fault(redirect_to="file:///etc/passwd", status=307))
    assert client.data().status == 307


def test_gzip_bomb_is_small_on_the_wire_and_large_unpacked(client, faults):
    faults.add(Fault(gzip_bomb_bytes=20_000_000))
    response = client.data()
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(response.body) < 40_000
    unpacked = gzip.decompress(response.body)
    assert len(unpacked) == 20_000_000
    assert json.loads(unpacked) == {"rows": []}


def test_deep_json_is_deep(client, faults):
    faults.add(Fault(deep_levels=10_000))
    body = client.data().body
    assert body.count(b"[") == body.count(b"]") == 10_000
    with pytest.raises(RecursionError):
        json.loads(body)


def test_giant_body_is_streamed_with_an_honest_length(client, faults):
    faults.add(Fault(giant_bytes=30_000_000))
    response = client.data()
    assert len(response.body) == int(response.headers["Content-Length"]) == 30_000_000
    assert response.rows == []


def test_giant_body_survives_a_caller_that_hangs_up(client, filled, faults):
    faults.add(Fault(giant_bytes=500_000_000))
    client.connection.request("GET", "/api/v1/data/items", headers=client.headers)
    client.connection.getresponse().read(1000)
    client.connection.close()
    assert len(client.data().rows) == 25


def test_invalid_gzip_does_not_unpack(client, filled, faults):
    faults.add(Fault(invalid_gzip=True))
    response = client.data()
    assert response.headers["Content-Encoding"] == "gzip"
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(response.body)


def test_authorization_is_echoed(client, faults):
    faults.add(Fault(echo_authorization=True))
    response = client.data()
    assert response.status == 500
    assert f"Bearer {TOKEN}" in response.json["detail"]


@pytest.mark.parametrize("content_type", ["text/html", "application/json; charset=utf-16", ""])
def test_content_type_can_be_wrong(client, filled, faults, content_type):
    faults.add(Fault(content_type=content_type))
    response = client.data()
    assert response.headers["Content-Type"] == content_type
    assert len(response.rows) == 25


def test_connection_dropped_without_an_answer(client, filled, faults):
    faults.add(Fault(drop_connection=True))
    with pytest.raises(ConnectionError):
        client.data()
    assert faults.requests_log[0].status == 0
    client.connection.close()
    assert len(client.data().rows) == 25


def test_members_of_a_fault_combine(client, faults):
    faults.add(
        Fault(
            status=503,
            body=b"down",
            content_type="text/plain",
            headers={"Retry-After": "1"},
            drip_bytes=1,
        )
    )
    response = client.data()
    assert (response.status, response.body) == (503, b"down")
    assert response.headers["Retry-After"] == "1"


def test_hook_changes_the_table_between_two_pages(client, filled, faults):
    def on_request(request):
        if request.page == 2:
            filled.put(item("A00", "moved"))

    faults.on_request = on_request
    assert "A10" not in [row["data"]["item_number"] for row in client.walk(page_size=10)]


def test_hook_may_change_the_plan(client, filled, faults):
    faults.on_request = lambda request: faults.add(Fault(status=500)) if request.page == 2 else None
    assert [client.data(page=page).status for page in (1, 2, 1)] == [200, 500, 200]


def test_json_form_of_a_fault():
    assert Fault.from_json({"status": 429, "body": "slow", "page": 3}) == Fault(
        status=429, body=b"slow", page=3
    )
    with pytest.raises(ValueError, match="statos"):
        Fault.from_json({"statos": 429})


def test_request_log_can_be_forgotten(client, faults):
    client.data()
    faults.forget_requests()
    assert faults.requests_log == []
