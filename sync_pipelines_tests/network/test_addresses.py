"""Which addresses a request may go to, and that what was checked is what is connected to."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sync_pipelines.errors import GuardError, SourceUnreachableError
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.network.addresses import Reach, parse_host, reach_of
from sync_pipelines.network.origins import check_spelling, origin_of, travels_in_clear
from sync_pipelines.network.outbound import Outbound, named_by
from sync_pipelines.network.outbound_settings import parse_private_origins, parse_secret_origins
from sync_pipelines.settings import Settings
from sync_pipelines.sources.http.guarded import GuardedSession

ADDRESSES = {
    Reach.PUBLIC: [
        "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
    ],
    Reach.LOOPBACK: [
        "127.0.0.1", "127.255.1.2", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1",
        "2002:7f00:1::1",
    ],
    Reach.PRIVATE: [
        "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255",
        "0.1.2.3", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1",
        "203.0.113.1", "240.0.0.1", "fc00::1", "fdff::1", "fec0::1", "100::1", "2001:db8::1",
        "::ffff:10.0.0.1", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8", "2002:a00:1::1", "2001:0:808:808::f5ff:fffe",
        "2606:4700::5efe:10.0.0.1", "fd00::5efe:8.8.8.8",
    ],
    Reach.METADATA: [
        "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254",
        "100.100.100.200", "168.63.129.16", "192.0.0.192", "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1",
    ],
    Reach.NEVER: [
        "0.0.0.0", "::", "224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1",
        "::ffff:0.0.0.0", "64:ff9b::224.0.0.1",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("reach", "address"), [(reach, one) for reach, many in ADDRESSES.items() for one in many]
)
def test_an_address_leads_as_far_as_what_it_carries(reach: Reach, address: str) -> None:
    assert reach_of(ipaddress.ip_address(address)) is reach


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "127.0.1",
        "127.0.0.01",
        "0x7f.1",
        "1.2.3.4.5",
        "0",
    ],
)
def test_numbers_in_another_spelling_are_refused(host: str) -> None:
    with pytest.raises(GuardError, match="four decimal numbers"):
        check_spelling(f"http://{host}:8080/x")


def test_names_are_no_numbers() -> None:
    assert [
        parse_host(host) for host in ("erp.example.com", "0x.example", "1e100.net", "localhost")
    ] == [None] * 4
    assert parse_host("[::1]") == ipaddress.ip_address("::1")


def test_an_origin_has_one_spelling() -> None:
    assert {
        origin_of(url)
        for url in (
            "HTTPS://Erp.Example.com/a",
            "https://erp.example.com.:443",
            "https://erp.example.com/b?c",
        )
    } == {"https://erp.example.com:443"}
    assert origin_of("http://[::1]:8/") == "http://[::1]:8"
    in_clear = ("http://erp/", "http://10.0.0.1")
    not_in_clear = ("https://erp/", "http://127.0.0.1/", "http://localhost:1")
    assert all(travels_in_clear(url) for url in in_clear)
    assert not any(travels_in_clear(url) for url in not_in_clear)


def session(url: str, **outbound) -> GuardedSession:
    return GuardedSession(
        url, lambda: None, HttpLimits(tries=1, timeout_seconds=2), outbound=Outbound(**outbound)
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9",
        "http://localhost:9",
        "http://10.255.255.1:9",
        "http://169.254.169.254",
        "http://[::ffff:7f00:1]:9",
    ],
)
def test_what_is_not_named_is_not_connected_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it connected"))
    with pytest.raises(GuardError, match="nothing was sent") as caught:
        session(url).get("/")
    assert "ALLOWED_PRIVATE_ORIGINS" in str(caught.value.next_command)


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Names resolve to the next of `answers`; numbers to themselves. Returns the names that were asked for."""
    real, asked, waiting = socket.getaddrinfo, [], list(answers)

    def getaddrinfo(host, port, *args, **kwargs):
        if parse_host(host) is not None:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return [
            entry
            for one in found
            for entry in real(one, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], ["::ffff:10.0.0.1"]]
)
def test_a_public_name_that_leads_home_is_refused(
    found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, found)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it connected"))
    with pytest.raises(GuardError, match="erp.example.com is at .* not public"):
        session("http://erp.example.com:9").get("/")


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.headers["Host"].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(
    server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://rebinding.example.com:{server.server_port}"
    # A second look at the name would find the metadata service.
    asked = resolving(monkeypatch, ["127.0.0.1"], ["169.254.169.254"])
    assert (
        session(url, private=frozenset({origin_of(url)})).get("/")
        == f"rebinding.example.com:{server.server_port}".encode()
    )
    assert asked == ["rebinding.example.com"]


def test_a_named_host_may_be_private_but_its_name_does_not_open_the_metadata_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = Outbound(private=frozenset({"http://erp.example.com:80"}))
    named.check_addresses("http", "erp.example.com", 80, [ipaddress.ip_address("10.0.0.5")])
    with pytest.raises(GuardError):
        named.check_addresses(
            "http", "erp.example.com", 80, [ipaddress.ip_address("169.254.169.254")]
        )
    with pytest.raises(GuardError):
        named.check_addresses("http", "erp.example.com", 8080, [ipaddress.ip_address("10.0.0.5")])
    Outbound(private=frozenset({"http://169.254.169.254:80"})).check_literal(
        "http://169.254.169.254/"
    )
    with pytest.raises(GuardError, match="multicast"):
        Outbound(private=frozenset({"http://0.0.0.0:80"})).check_literal("http://0.0.0.0/")


@pytest.mark.parametrize(
    ("allowed", "passes"),
    [
        ("10.0.0.0/8", True),
        ("10.0.0.5", True),
        ("erp.intern", True),
        ("http://erp.intern:81", True),
        ("HTTP://ERP.intern:81/", True),
        ("http://erp.intern", False),
        ("10.1.0.0/16", False),
        ("other.intern", False),
        ("", False),
    ],
)
def test_the_setting_names_origins_hosts_and_networks(allowed: str, passes: bool) -> None:
    settings = Settings(_env_file=None, allowed_private_origins=allowed)
    outbound = Outbound().with_settings(settings)
    if passes:
        outbound.check_addresses("http", "erp.intern", 81, [ipaddress.ip_address("10.0.0.5")])
        return
    with pytest.raises(GuardError):
        outbound.check_addresses("http", "erp.intern", 81, [ipaddress.ip_address("10.0.0.5")])


@pytest.mark.parametrize("text", ["10.0.0.0/33", "a b", "127.1", "http://", "https://x:0x1"])
def test_a_setting_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_private_origins(text)
    with pytest.raises(ValueError, match="NAME=https"):
        parse_secret_origins(text)


def test_a_certificate_is_verified_against_the_name_and_not_the_address(
    server, monkeypatch, tmp_path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=named -addext subjectAltName=DNS:named.example.com"
    )
    command = [*request.split(), "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    resolving(monkeypatch, ["127.0.0.1"])
    for name, error in (
        ("named.example.com", None),
        ("other.example.com", "certificate is not valid"),
    ):
        url = f"https://{name}:{server.server_port}"
        asked = session(url, private=frozenset({origin_of(url)}))
        if error is None:
            assert asked.get("/").startswith(b"named.example.com:")
            continue
        with pytest.raises(Exception, match=error):
            asked.get("/")
    assert names[0] == "named.example.com"


def test_when_the_first_address_is_dead_the_next_that_was_checked_is_tried(
    server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://two.example.com:{server.server_port}"
    resolving(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    assert session(url, private=frozenset({origin_of(url)})).get("/")
    resolving(monkeypatch, ["127.0.0.3"])
    with pytest.raises(SourceUnreachableError):
        session(url, private=frozenset({origin_of(url)})).get("/")


def test_loopback_is_named_by_writing_it() -> None:
    urls = [
        "http://127.0.0.1:1",
        "http://localhost:2",
        "http://[::1]:3",
        "http://10.0.0.1",
        "http://erp",
    ]
    assert named_by(urls) == {"http://127.0.0.1:1", "http://localhost:2", "http://[::1]:3"}
    assert named_by(urls, allow_private=True) == {origin_of(url) for url in urls}
