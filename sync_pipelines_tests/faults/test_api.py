"""Faults 6–18: what the source's API does wrong."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest

from sync_pipelines.catalog.connectors import check_base_url, get_connector
from sync_pipelines.demo.twin import (
    NULL_ROWVERSION,
    Fault,
    IntegerRowversions,
    RequestInfo,
    TwinServer,
    TwinStore,
)
from sync_pipelines.errors import (
    AuthenticationError,
    BrokenPageError,
    ConfigurationError,
    CursorProtocolError,
    GuardError,
    SchemaDriftError,
    SettingsError,
    SourceBusyError,
    SourceContractError,
)
from sync_pipelines.model.run import RunStatus
from sync_pipelines.runs.audit import audit_entity
from sync_pipelines.sources.http.connector_session import open_session
from sync_pipelines_tests.faults.helpers import configure, healed, refused, settled
from sync_pipelines_tests.test_lost_connections import changed_items
from sync_pipelines_tests.test_moving_rows import at_request
from sync_pipelines_tests.world import TOKEN, World, item


def test_fault_06_rate_limited_with_retry_after(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_items(world)
    pauses: list[float] = []
    session = open_session(get_connector(world.database, "erp"), world.settings)
    monkeypatch.setattr(session, "_sleep", pauses.append)
    for header in ("86400", formatdate(time.time() + 86_400, usegmt=True)):
        world.faults.add(Fault(kind="data", status=429, headers={"Retry-After": header}))
        refused(world, SourceBusyError, "429")
    assert pauses == [], "a day is not waited for"
    world.faults.add(Fault(kind="data", status=429, headers={"Retry-After": "7"}))
    world.faults.add(
        Fault(
            kind="data",
            nth=3,
            status=429,
            headers={"Retry-After": formatdate(time.time() + 90, usegmt=True)},
        )
    )
    assert world.sync().ledger.written == 13
    assert pauses[0] == 7
    assert 85 <= pauses[1] <= 91
    assert world.runs()[0]["details"]["retries"] == 2
    settled(world)


def test_fault_07_flapping_server_errors(world: World) -> None:
    changed_items(world)
    configure(world, tries=3)
    for status, error in {
        400: SourceContractError,
        404: SourceContractError,
        405: SourceContractError,
    }.items():
        world.faults.add(Fault(kind="data", status=status))
        refused(world, error, str(status))
    for status in (401, 403):
        world.faults.add(Fault(kind="data", status=status))
        refused(world, AuthenticationError, str(status))
    world.faults.add(Fault(kind="data", status=503, times=3))
    refused(world, SourceBusyError, "3 tries")
    for nth, status in enumerate((408, 429, 500, 502, 503, 504)):
        world.faults.add(Fault(kind="data", nth=1 + nth // 2, status=status))
    result = world.sync()
    assert result.ledger.written == 13
    assert result.requests > result.pages + 3
    settled(world)


def test_fault_08_token_expires_at_page_7(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    table = world.add_items(100, rowversions=IntegerRowversions(1), comparator="integer")
    world.set(lookback_seconds=0)

    def expire() -> None:
        world.server.token = "the-next-token"

    world.faults.forget_requests()
    at_request(world, 7, expire)
    error = refused(world, AuthenticationError, "401")
    assert error.where["page"] == 7
    assert [request.status for request in world.server.requests_log] == [200] * 6 + [401]
    assert world.rows() == {}

    def rotate() -> None:
        world.server.token = TOKEN
        monkeypatch.setenv("TWIN_TOKEN", TOKEN)

    monkeypatch.setenv("TWIN_TOKEN", "the-next-token")
    at_request(world, 7, rotate)
    refused(world, AuthenticationError, "401")
    healed(world, len(table))


def test_fault_09_an_answer_that_is_no_page(world: World) -> None:
    changed_items(world)
    for body in (
        f"<html>Please log in again. Bearer {TOKEN}".encode(),
        b"",
        b"null",
        b"[]",
        b'{"items": []}',
        b'{"rows": null}',
        b'{"rows": {}}',
        b'{"error": "none of your business"}',
        b'{"rows": []} and more',
    ):
        world.faults.clear()
        world.faults.add(Fault(kind="data", body=body, times=None))
        error = refused(world, BrokenPageError, "begins: ")
        assert body.decode()[:12] in str(error)
        assert len(str(error)) < 700
    healed(world)


def test_fault_10_empty_or_short_pages_and_a_total_that_shrinks(world: World) -> None:
    table = changed_items(world)
    world.set(max_vanished_share=0.5)
    world.faults.add(Fault(kind="data", nth=2, empty_rows=True))
    assert world.sync(full_refresh=True).ledger.deleted == 0, "one empty answer was believed"
    for number in range(30, 60):
        table.put(item(number))
    world.faults.clear()
    world.faults.add(Fault(kind="data", nth=2, empty_rows=True))
    world.sync()
    table.page_cap = 4
    world.sync()
    settled(world)
    for key in list(table.truth())[:40]:
        table.delete(key)
    assert world.sync(full_refresh=True, status=RunStatus.INCOMPLETE).held_deletions == 40
    world.set(max_vanished_share=1)
    healed(world, 40, full_refresh=True)


def test_fault_11_rows_inserted_and_deleted_while_paging(world: World) -> None:
    table = changed_items(world)
    for number in range(100, 160):
        table.put(item(number))
    requests: list[int] = []

    def change(request: RequestInfo) -> None:
        requests.append(1)
        number = len(requests)
        if number < 9:
            table.put_many([item(100 + number * 3, base_uom="MOVED"), item(200 + number)])
            table.delete((f"A{150 + number:05d}",))

    world.faults.on_request = change
    world.sync()
    world.faults.on_request = None
    world.sync()
    assert table.truth().keys() <= world.rows().keys()
    world.sync(full_refresh=True)
    settled(world)


def test_fault_12_a_source_that_never_ends(world: World) -> None:
    table = changed_items(world)
    world.faults.add(Fault(kind="data", body=table.page(None, 1, 10), times=None))
    refused(world, CursorProtocolError, "greater than")
    refused(world, SourceContractError, full_refresh=True)
    assert len(world.server.requests_log) < 30
    world.faults.clear()
    world.settings = world.settings.model_copy(update={"max_pages": 2})
    refused(world, SourceContractError, "without coming to an end")
    world.settings = world.settings.model_copy(update={"max_pages": 1000})
    healed(world)


def test_fault_13_next_or_redirect_to_another_host(world: World) -> None:
    table = changed_items(world)
    with TwinServer(TwinStore(), token=TOKEN) as other:
        number = 0x7F000001
        for target in (
            f"{other.url}/api/v1/data/items",
            f"http://{number}:{other.port}/",
            f"http://[::ffff:127.0.0.1]:{other.port}/",
            f"//localhost:{other.port}/",
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
        ):
            world.faults.add(Fault(kind="data", redirect_to=target))
            refused(world, GuardError, "redirects are not followed")
        page = json.loads(table.page(world.entity().position.cursor, 1, 10))
        link = {
            **page,
            "next": f"{other.url}/api/v1/data/items?page=2",
            "links": {"next": other.url},
        }
        world.faults.add(Fault(kind="data", body=json.dumps(link).encode()))
        healed(world)
        assert other.requests_log == []
    for url in (
        "file:///etc/passwd",
        "gopher://x",
        f"http://me:{TOKEN}@host",
        "http://host/?next=x",
    ):
        with pytest.raises(SettingsError):
            check_base_url(url)


def test_fault_14_giant_page_gzip_bomb_or_deep_json(world: World) -> None:
    changed_items(world)
    configure(world, max_page_bytes=20_000_000)
    world.faults.add(Fault(kind="data", giant_bytes=500_000_000))
    refused(world, GuardError, "larger than 20000000 bytes")
    world.faults.add(Fault(kind="data", gzip_bomb_bytes=100_000_000))
    refused(world, GuardError, "times its size")
    world.faults.add(Fault(kind="data", deep_levels=10_000, times=None))
    refused(world, BrokenPageError, "nested too deeply")
    healed(world)


def test_fault_15_a_late_commit_with_a_lower_rowversion(world: World) -> None:
    table = world.add_items(12, rowversions=IntegerRowversions(1), comparator="integer")
    world.sync()
    within, beyond = table.begin(item(3, base_uom="LATE")), table.begin(item(4, base_uom="LATER"))
    table.put(item(50))
    world.sync()
    within.commit()
    assert world.sync().ledger.updated == 1
    world.pass_time()
    table.put(item(51))
    world.sync()
    world.pass_time()
    table.put(item(52))
    world.sync()
    beyond.commit()
    assert world.sync().ledger.written == 0
    assert audit_entity(world.database, "erp", "items", settings=world.settings).missed == 1
    healed(world, 1, full_refresh=True)


def test_fault_16_equal_rowversions_across_the_border(world: World) -> None:
    table = world.add_items(35, rowversions=lambda: "20240101000000")
    healed(world, 35)
    table.put_many([item(number, base_uom="KG") for number in range(33)])
    healed(world, 33)
    world.add_items(60, "bursts", rowversions=IntegerRowversions(1, burst=17), comparator="integer")
    healed(world, 60, "bursts")


def test_fault_17_rowversions_that_widen_are_null_mixed_or_go_back(world: World) -> None:
    widening = world.add_items(0, "widening", comparator="integer")
    for number in range(5, 9):
        widening.put(item(number), str(number))
    world.set("widening", lookback_seconds=0)
    world.sync("widening")
    for number in range(9, 25):
        widening.put(item(number), str(number))
    healed(world, 16, "widening")
    widening.put(item(5, base_uom="NULL"), NULL_ROWVERSION)
    world.sync("widening", full_refresh=True)
    assert world.quarantine("widening") == []
    assert world.rows("widening")[("A00005",)]["base_uom"] == "NULL", (
        "a full read has what no delta can see"
    )
    widening.put(item(5, base_uom="GOOD"), "100")
    healed(world, 1, "widening")

    mixed = world.add_items(0, "mixed")
    for number in range(3):
        mixed.put(item(number), f"v{number}")
    world.set("mixed", lookback_seconds=0, cursor_codec="text")
    world.sync("mixed")
    mixed.put(item(9), "v10")
    mixed.put(item(8), "v9")
    error = refused(world, CursorProtocolError, slug="mixed")
    assert error.next_command == "sync-pipelines sync erp/mixed --full-refresh"
    world.sync("mixed", full_refresh=True)
    world.assert_equal_to_truth("mixed")

    restored = world.add_items(0, "restored", comparator="integer")
    for number in range(6):
        restored.put(item(number), str(1000 + number))
    world.set("restored", lookback_seconds=0)
    world.sync("restored")
    for number in range(6):
        restored.put(item(number, base_uom="OLD"), str(10 + number))
    world.sync("restored")
    result = world.sync("restored", full_refresh=True)
    assert any("went back" in warning for warning in result.warnings)
    settled(world, "restored")


def test_fault_18_entity_gone_renamed_or_with_another_key(world: World) -> None:
    table = changed_items(world)
    world.faults.add(Fault(kind="data", status=404, times=None))
    refused(world, SourceContractError, "404")
    world.faults.clear()
    world.store.remove("items")
    table.slug = "articles"
    world.store.add(table)
    report = world.discover()
    assert (report.vanished, report.added) == (["items"], ["articles"])
    assert "discover erp" in str(world.fails(ConfigurationError))
    assert len(world.rows()) == 25
    world.set("articles", lookback_seconds=0)
    healed(world, 26, "articles")
    table.set_business_keys(("item_number", "base_uom"))
    assert "business key" in world.discover().stopped["articles"]
    world.fails(SchemaDriftError, "articles")
    kept = world.discover("articles").set_aside["articles"]
    assert world.sql(f"SELECT count(*) FROM {kept}") == [(26,)]
    healed(world, 26, "articles")
