"""Faults 1–5: the line to the source."""

from __future__ import annotations

import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sync_pipelines.demo.twin import Fault, RequestInfo, TcpProxy, TwinServer
from sync_pipelines.errors import BrokenPageError, ConfigurationError, SourceUnreachableError
from sync_pipelines_tests.faults.helpers import configure, healed, refused, settled
from sync_pipelines_tests.test_concurrency import attempt
from sync_pipelines_tests.test_lost_connections import changed_items
from sync_pipelines_tests.world import TOKEN, World, item


def test_fault_01_dns_failure_or_connection_refused(world: World) -> None:
    changed_items(world)
    configure(world, tries=3)
    world.server.stop()
    refused(world, SourceUnreachableError, "3 tries")
    configure(world, url="http://no-such-host.invalid")
    refused(world, SourceUnreachableError)
    assert world.entity().timeline.consecutive_failures == 2
    configure(world)
    world.server.start()
    healed(world)
    assert world.entity().timeline.consecutive_failures == 0


def test_fault_02_timeout_or_dripping_bytes(world: World) -> None:
    changed_items(world)
    configure(world, timeout_seconds=0.3, page_deadline_seconds=0.5)
    started = time.monotonic()
    world.faults.forget_requests()
    world.faults.add(Fault(kind="data", delay_seconds=1, times=2))
    refused(world, SourceUnreachableError, "2 tries")
    first, second = world.server.requests_log
    assert first.query == second.query
    world.faults.add(Fault(kind="data", drip_bytes=3, times=2))
    refused(world, BrokenPageError, "not complete after 0.5 s")
    with TcpProxy(world.server.port) as proxy:
        configure(world, proxy.url, timeout_seconds=0.3, page_deadline_seconds=0.5)
        proxy.drip_bytes = 1
        refused(world, BrokenPageError, "not complete after 0.5 s")
    assert time.monotonic() - started < 10, (
        "the deadline is for the whole answer, its headers included"
    )
    configure(world, timeout_seconds=0.5)
    world.faults.add(Fault(kind="data", delay_seconds=1, times=1))
    healed(world)


def test_fault_03_reset_in_the_body_or_truncated_json(world: World) -> None:
    table = changed_items(world)
    world.faults.add(Fault(kind="data", cut_at_byte=60, times=2))
    refused(world, BrokenPageError, "broke off")
    world.faults.add(Fault(kind="data", truncate_at_byte=60, times=2))
    refused(world, BrokenPageError, "not JSON")
    for number, cut in enumerate((1, 60, 600)):
        world.faults.clear()
        world.faults.add(Fault(kind="data", cut_at_byte=cut))
        world.faults.add(Fault(kind="data", nth=2, truncate_at_byte=cut))
        table.put(item(60 + number))
        assert world.sync().ledger.inserted == (1 if number else 2), (
            "a broken page is discarded whole and read again"
        )
    settled(world)


def certificate(folder: Path, name: str, subject: str, days: int) -> tuple[Path, Path]:
    """A self-signed certificate for an address and its key."""
    key, request, made = folder / f"{name}.key", folder / f"{name}.csr", folder / f"{name}.pem"
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={subject}\n")
    for command in (
        [
            "req",
            "-new",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            f"/CN={name}",
            "-keyout",
            str(key),
            "-out",
            str(request),
        ],
        [
            "x509",
            "-req",
            "-in",
            str(request),
            "-signkey",
            str(key),
            "-days",
            str(days),
            "-out",
            str(made),
        ]
        + ["-extfile", str(extensions)],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return made, key


def test_fault_04_expired_or_wrong_certificate(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_items(world)
    world.faults.forget_requests()
    for name, subject, days, trusted in (
        ("unknown", "IP:127.0.0.1", 1, False),
        ("elsewhere", "DNS:other.example", 1, True),
        ("expired", "IP:127.0.0.1", -1, True),
        ("good", "IP:127.0.0.1", 1, True),
    ):
        made, key = certificate(tmp_path, name, subject, days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made, key)
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(made))
        with TwinServer(world.store, token=TOKEN, ssl_context=context) as secure:
            configure(world, secure.url)
            if name == "good":
                healed(world)
                continue
            refused(world, ConfigurationError, "certificate is not valid")
            assert secure.requests_log == world.server.requests_log == [], (
                "the token was sent in spite of it"
            )


def test_fault_05_a_partition_that_heals(world: World) -> None:
    changed_items(world)
    with TcpProxy(world.server.port) as proxy:
        configure(world, proxy.url, timeout_seconds=0.3)
        seen = []

        def part_at_the_second_page(request: RequestInfo) -> None:
            seen.append(request)
            if len(seen) == 2:
                proxy.partition()

        world.faults.on_request = part_at_the_second_page
        refused(world, SourceUnreachableError, "2 tries")
        refused(world, SourceUnreachableError, "2 tries")
        world.faults.on_request = None
        proxy.heal()
        world.settings = world.settings.model_copy(update={"entity_wait_seconds": 30})
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda _: attempt(world, "items"), range(2)))
        assert sorted(result.ledger.written for result in results) == [0, 13]
        settled(world)
