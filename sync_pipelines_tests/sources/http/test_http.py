"""The guarded session against a real twin that misbehaves: what is retried, what is refused, and who sees the token."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.demo.twin import Fault, TcpProxy, TwinServer, TwinStore
from sync_pipelines.errors import (
    AuthenticationError,
    BrokenPageError,
    ConfigurationError,
    GuardError,
    SettingsError,
    SourceBusyError,
    SourceContractError,
    SourceUnreachableError,
)
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.secrets import register_secret
from sync_pipelines.sources.apismith.protocol import fetch_apis, fetch_data
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.http.traffic import Traffic
from sync_pipelines.sources.http.turns import RateLimiter
from sync_pipelines.sources.source import PageRequest
from sync_pipelines_tests.sources.http.session import PATH, TOKEN, Opener, Pauses


def test_a_good_answer_comes_as_it_was_sent_with_the_token_on_the_request(
    twin: TwinServer, open_session: Opener
) -> None:
    traffic = Traffic()
    body = fetch_data(open_session(), "items", PageRequest("5", 1, 10), traffic, bytes)
    assert body == twin.store["items"].page("5", 1, 10)
    request = twin.requests_log[0]
    assert (request.rowversion_gt, request.page, request.page_size) == ("5", 1, 10)
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert (traffic.requests, traffic.retries, traffic.bytes_wire) == (1, 0, len(body))


def test_compressed_answers_are_unpacked_and_counted_as_they_came(
    twin: TwinServer, open_session: Opener
) -> None:
    twin.gzip = True
    traffic = Traffic()
    body = open_session().get(PATH, traffic=traffic)
    assert body == twin.store["items"].page()
    assert 0 < traffic.bytes_wire < len(body)


def test_a_redirect_is_not_followed_and_the_other_host_never_hears_of_us(
    twin: TwinServer, open_session: Opener
) -> None:
    with TwinServer(TwinStore(), token=TOKEN) as other:
        twin.faults.add(Fault(redirect_to=f"{other.url}{PATH}", times=None))
        with pytest.raises(GuardError, match="redirects are not followed"):
            open_session().get(PATH)
        assert other.requests_log == []
    assert len(twin.requests_log) == 1


@pytest.mark.parametrize("path", ["@evil.example/x", ".evil.example/x", ":1/x", "/api/../../x"])
def test_a_path_cannot_lead_to_another_origin(
    twin: TwinServer, open_session: Opener, path: str
) -> None:
    with pytest.raises(GuardError, match="leaves the connector's origin"):
        open_session().get(path)
    assert twin.requests_log == []


def test_a_query_is_escaped(twin: TwinServer, open_session: Opener) -> None:
    open_session().get(PATH, {"rowversion_gt": "a&page=9#x\r\nHost: evil", "page": 1})
    assert twin.requests_log[0].query["rowversion_gt"] == "a&page=9#x\r\nHost: evil"
    assert twin.requests_log[0].query["page"] == "1"


@pytest.mark.parametrize("with_reset", [True, False])
@pytest.mark.parametrize("gzip", [True, False])
def test_a_body_that_breaks_off_is_thrown_away_whole_and_read_again(
    twin: TwinServer, open_session: Opener, with_reset: bool, gzip: bool
) -> None:
    twin.gzip = gzip
    twin.faults.add(Fault(cut_at_byte=40, cut_with_reset=with_reset, times=2))
    assert open_session().get(PATH) == twin.store["items"].page()
    assert len(twin.requests_log) == 3


def test_a_body_that_always_breaks_off_is_a_broken_page(
    twin: TwinServer, open_session: Opener
) -> None:
    twin.faults.add(Fault(cut_at_byte=40, times=None))
    with pytest.raises(BrokenPageError, match="broke off"):
        open_session().get(PATH)


@pytest.mark.parametrize("ending", ["chunk", "size"])
def test_a_chunked_body_without_its_end_is_a_broken_page(ending: str) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n" + (
        b'{"rows":' if ending == "chunk" else b'{"rows":[\r\n'
    )
    with raw_server(answer) as url, pytest.raises(BrokenPageError, match="broke off"):
        GuardedSession(url, lambda: None, HttpLimits(tries=1)).get("/")


def test_a_dropped_connection_is_tried_again(twin: TwinServer, open_session: Opener) -> None:
    twin.faults.add(Fault(drop_connection=True))
    assert open_session().get(PATH)
    twin.faults.add(Fault(drop_connection=True, times=None))
    with pytest.raises(SourceUnreachableError, match="3 tries"):
        open_session().get(PATH)


def test_a_refused_connection_is_unreachable(open_session: Opener) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(SourceUnreachableError, match="3 tries"):
        open_session(f"http://127.0.0.1:{port}").get(PATH)


def test_a_name_that_does_not_exist_is_unreachable(open_session: Opener) -> None:
    with pytest.raises(SourceUnreachableError):
        open_session("http://no-such-host.invalid", tries=1).get(PATH)


def test_an_answer_that_does_not_come_times_out(twin: TwinServer, open_session: Opener) -> None:
    twin.faults.add(Fault(delay_seconds=1, times=None))
    started = time.monotonic()
    with pytest.raises(SourceUnreachableError):
        open_session(timeout_seconds=0.2, tries=1).get(PATH)
    assert time.monotonic() - started < 0.8


def test_dripping_bytes_end_at_the_deadline_of_the_page(
    twin: TwinServer, open_session: Opener
) -> None:
    twin.faults.add(Fault(drip_bytes=5, drip_interval_seconds=0.05, times=None))
    started = time.monotonic()
    with pytest.raises(BrokenPageError, match="not complete after 0.4 s"):
        open_session(page_deadline_seconds=0.4, tries=1).get(PATH)
    assert time.monotonic() - started < 1.5


def test_a_gzip_bomb_is_stopped_by_its_ratio(twin: TwinServer, open_session: Opener) -> None:
    twin.faults.add(Fault(gzip_bomb_bytes=100_000_000, times=None))
    with pytest.raises(GuardError, match="more than 200 times its size"):
        open_session().get(PATH)
    assert len(twin.requests_log) == 1


def test_a_giant_body_is_stopped_at_the_limit(twin: TwinServer, open_session: Opener) -> None:
    twin.faults.add(Fault(giant_bytes=50_000_000, times=None))
    traffic = Traffic()
    with pytest.raises(GuardError, match="larger than 1000000 bytes"):
        open_session(max_page_bytes=1_000_000).get(PATH, traffic=traffic)
    assert traffic.bytes_wire < 2_000_000


def test_something_that_only_claims_to_be_gzip_is_a_broken_page(
    twin: TwinServer, open_session: Opener
) -> None:
    twin.faults.add(Fault(invalid_gzip=True, times=None))
    with pytest.raises(BrokenPageError, match="broke off"):
        open_session().get(PATH)


def test_a_certificate_nobody_vouches_for_is_refused_without_a_retry(
    tmp_path: Path, open_session: Opener
) -> None:
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = [*request.split(), "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with TwinServer(TwinStore(), token=TOKEN, ssl_context=context) as twin:
        traffic = Traffic()
        with pytest.raises(ConfigurationError, match="certificate is not valid"):
            open_session(twin.url).get(PATH, traffic=traffic)
        assert (traffic.requests, twin.requests_log) == (1, [])


def test_a_server_that_speaks_no_tls_is_unreachable_and_never_asked_in_the_clear(
    twin: TwinServer, open_session: Opener
) -> None:
    with pytest.raises(SourceUnreachableError):
        open_session(twin.url.replace("http:", "https:"), tries=1).get(PATH)
    assert twin.requests_log == []


def test_a_token_in_an_error_body_is_hidden_in_message_and_log(
    twin: TwinServer, open_session: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    twin.faults.add(Fault(echo_authorization=True, times=None))
    with caplog.at_level(logging.DEBUG, "sync_pipelines"), pytest.raises(SourceBusyError) as caught:
        open_session().get(PATH)
    assert TOKEN not in str(caught.value)
    assert TOKEN not in caplog.text
    assert "upstream refused" in str(caught.value)


@pytest.mark.parametrize("written", ["{}", "{}!", "?token={}", 'rejected "{}"'])
def test_a_long_token_is_hidden_even_where_the_body_is_cut(
    twin: TwinServer, open_session: Opener, written: str
) -> None:
    secret = "eyJ" + "k/7+" * 300
    register_secret(secret)
    twin.faults.add(Fault(status=400, body=(b"no: " + written.format(secret).encode()), times=None))
    with pytest.raises(SourceContractError) as caught:
        open_session().get(PATH)
    assert "k/7+" not in str(caught.value)


def test_an_error_body_shows_no_control_characters(twin: TwinServer, open_session: Opener) -> None:
    twin.faults.add(
        Fault(status=400, body=b"\x1b[31mred\r\nINFO forged line\x00\xff" + b"x" * 9000)
    )
    with pytest.raises(SourceContractError) as caught:
        open_session().get(PATH)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_connections_are_used_again_but_not_after_a_broken_answer(
    twin: TwinServer, open_session: Opener
) -> None:
    with TcpProxy(twin.port) as proxy:
        session = open_session(proxy.url)
        for _ in range(5):
            session.get(PATH)
        assert proxy.connections == 1
        twin.faults.add(Fault(giant_bytes=3_000_000))
        with pytest.raises(GuardError):
            session.limits = HttpLimits(max_page_bytes=1024)
            session.get(PATH)
        session.limits = HttpLimits()
        assert session.get(PATH) == twin.store["items"].page()
        assert proxy.connections == 2


def test_a_source_that_went_away_and_came_back_is_found_again(
    twin: TwinServer, open_session: Opener
) -> None:
    session = open_session()
    session.get(PATH)
    twin.stop()
    with pytest.raises(SourceUnreachableError):
        session.get(PATH)
    twin.start()
    assert session.get(PATH)


def test_a_token_that_changed_is_used_from_the_next_request_on(
    twin: TwinServer, pauses: Pauses
) -> None:
    tokens = iter(["old", TOKEN])
    session = GuardedSession(twin.url, lambda: next(tokens), HttpLimits(), sleep=pauses)
    with pytest.raises(AuthenticationError):
        session.get(PATH)
    assert session.get(PATH)


def test_requests_are_spaced_over_all_threads() -> None:
    limiter = RateLimiter(100)
    started = time.monotonic()
    threads = [threading.Thread(target=limiter.wait) for _ in range(11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 0.099


def test_no_more_requests_run_at_once_than_allowed(twin: TwinServer, open_session: Opener) -> None:
    twin.latency_seconds = 0.05
    session = open_session(max_connections=2)
    started = time.monotonic()
    threads = [threading.Thread(target=session.get, args=(PATH,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 0.15


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"apis": []}',
        b"null",
        b'"x"',
        b"[" * 100_000,
        b"[" + b"[]," * 3_000_000 + b"1]",
    ],
)
def test_a_list_of_apis_that_is_none_is_refused(
    twin: TwinServer, open_session: Opener, body: bytes
) -> None:
    twin.faults.add(Fault(kind="apis", body=body, times=None))
    with pytest.raises((BrokenPageError, SourceContractError), match="begins:"):
        fetch_apis(open_session(tries=1))


@pytest.mark.parametrize(
    "settings", [{"tries": 0}, {"unknown": 1}, {"timeout_seconds": "x"}, {"max_page_bytes": 5}]
)
def test_limits_out_of_range_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(settings))):
        HttpLimits.from_settings(settings)


@given(st.lists(st.floats(0, 1e6), max_size=50), st.floats(0, 1))
def test_a_percentile_is_one_of_the_times(seconds: list[float], share: float) -> None:
    assert Traffic(seconds=seconds).percentile_seconds(share) in (seconds or [0.0])


@contextlib.contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """Sends these bytes to every caller and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                caller.recv(65536)
                caller.sendall(answer)
                caller.close()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
