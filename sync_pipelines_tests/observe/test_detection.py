"""Incidents of a real catalog: what really goes wrong is found, reported once, and reported again when it is over."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.database import clock
from sync_pipelines.catalog.health import read_health
from sync_pipelines.catalog.incidents import list_incidents
from sync_pipelines.catalog.runs import fail_run, hold_entity, start_run
from sync_pipelines.demo.twin import Fault
from sync_pipelines.discovery.discover import discover
from sync_pipelines.errors import (
    IncompleteAnswerError,
    SyncError,
)
from sync_pipelines.model.incident import IncidentKind
from sync_pipelines.model.run import Mode
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines_tests.observe.conftest import Watch


def fail(watch: Watch, slug: str = "items", times: int = 1) -> None:
    for _ in range(times):
        with suppress(SyncError):
            sync_entity(watch.world.database, "erp", slug, settings=watch.world.settings)


def test_three_failures_in_a_row_are_one_message_and_a_success_is_one_more(watch: Watch) -> None:
    watch.world.add_items(3)
    watch.add_webhook()
    watch.world.faults.add(Fault("wrong", kind="data", slug="items", status=404, times=None))
    fail(watch, times=2)
    watch.look()
    assert watch.receiver.events == []
    fail(watch, times=3)
    watch.look()
    watch.look()
    assert watch.receiver.events == [("incident.opened", "consecutive_failures", "erp/items")]
    watch.world.faults.clear()
    watch.world.sync()
    watch.look()
    watch.look()
    assert watch.receiver.events[1:] == [("incident.closed", "consecutive_failures", "erp/items")]
    opened, closed = (request["body"]["data"] for request in watch.receiver.taken)
    assert opened["incident"] == closed["incident"]
    assert opened["message"].startswith(
        "erp/items failed 5 times in a row: The source answered 404"
    )
    assert closed["over_since"]


def test_a_trouble_that_comes_back_before_it_is_long_gone_is_the_same_incident(
    watch: Watch,
) -> None:
    watch.world.add_items(1)
    watch.add_webhook()
    for _ in range(4):
        watch.world.set(consecutive_failures=3)
        watch.look(alert_close_after_seconds=300)
        watch.world.set(consecutive_failures=0)
        watch.look(alert_close_after_seconds=300)
        watch.world.sql(
            "UPDATE bridge.incidents SET quiet_since = quiet_since - interval '200 seconds'"
        )
    assert watch.receiver.events == [("incident.opened", "consecutive_failures", "erp/items")]
    watch.world.sql(
        "UPDATE bridge.incidents SET quiet_since = quiet_since - interval '300 seconds'"
    )
    watch.look(alert_close_after_seconds=300)
    assert len(watch.receiver.events) == 2


def test_a_source_that_is_down_is_one_message_however_many_entities_it_has(watch: Watch) -> None:
    for number in range(8):
        watch.world.add_items(1, slug=f"items{number}")
    watch.add_webhook()
    watch.world.sql("UPDATE bridge.entities SET created_at = now() - interval '1 day'")
    watch.world.faults.add(Fault("down", kind="data", drop_connection=True, times=None))
    for number in range(8):
        fail(watch, f"items{number}", 3)
    watch.look()
    assert watch.receiver.events == [("incident.opened", "source_unreachable", "erp")]
    watch.world.faults.clear()
    for number in range(8):
        watch.world.sync(f"items{number}")
    watch.look()
    assert watch.receiver.events[1:] == [("incident.closed", "source_unreachable", "erp")]


def test_a_source_that_answers_too_little_is_reached_so_that_its_outage_is_over(
    watch: Watch,
) -> None:
    watch.world.add_items(1)
    watch.world.faults.add(Fault("down", kind="data", drop_connection=True, times=None))
    fail(watch, times=3)
    watch.look()
    assert ("source_unreachable", "erp", "open") in watch.incidents()
    entity = watch.world.entity()
    with hold_entity(watch.world.database, entity, 1) as held:
        run_uid, _ = start_run(held, entity, Mode.DELTA, "test", None, interrupted="")
        fail_run(
            watch.world.database, entity, run_uid, IncompleteAnswerError("3 of 9 ids came back.")
        )
    facts = "status, error_code, error_category, error_answered"
    assert watch.world.sql(
        f"SELECT {facts} FROM bridge.sync_runs ORDER BY started_at DESC LIMIT 2"
    ) == [
        ("incomplete", "incomplete_answer", "answered", True),
        ("failed", "source_unreachable", "unreachable", False),
    ]
    watch.look()
    still = [kind for kind, _, state in watch.incidents() if state == "open"]
    assert "source_unreachable" not in still


def test_a_refusal_is_kept_with_its_status(watch: Watch) -> None:
    watch.world.add_items(1)
    watch.world.faults.add(Fault("wrong", kind="data", slug="items", status=404, times=None))
    fail(watch)
    facts = "error_code, error_status, error_answered"
    assert watch.world.sql(f"SELECT {facts} FROM bridge.sync_runs") == [
        ("source_contract", 404, True)
    ]


def test_an_unreachable_discovery_counts_and_its_kind_is_kept(watch: Watch) -> None:
    add_connector(watch.world.database, "dead", "http://127.0.0.1:9", settings={"tries": 1})
    for _ in range(2):
        with pytest.raises(SyncError):
            discover(watch.world.database, "dead", settings=watch.settings)
    watch.look(alert_consecutive_failures=1)
    assert watch.incidents() == [("source_unreachable", "dead", "open")]
    facts = (
        "last_discovery_error_code, last_discovery_error_category, last_discovery_error_answered"
    )
    assert watch.world.sql(f"SELECT {facts} FROM bridge.connectors WHERE name = 'dead'") == [
        ("source_unreachable", "unreachable", False)
    ]


def test_the_slowest_answer_of_a_run_is_kept_and_judged(watch: Watch) -> None:
    watch.world.add_items(3)
    watch.world.faults.add(Fault("slow", kind="data", slug="items", delay_seconds=0.3, times=1))
    watch.world.sync()
    assert watch.world.runs()[0]["details"]["api_seconds_max"] >= 0.3
    watch.look(alert_response_seconds=0.25)
    assert watch.incidents() == [("slow_source", "erp/items", "open")]
    watch.look(alert_response_seconds=10)
    assert watch.incidents() == [("slow_source", "erp/items", "over")]


def test_a_run_that_goes_on_too_long_is_reported_and_whether_its_process_lives(
    watch: Watch,
) -> None:
    watch.world.add_items(1)
    entity = watch.world.entity()
    with hold_entity(watch.world.database, entity, 1) as held:
        start_run(held, entity, Mode.FULL, "test", None, interrupted="It died.")
        watch.world.sql("UPDATE bridge.sync_runs SET started_at = now() - interval '11 minutes'")
        opened = watch.look().evaluation.opened[0]
        assert (opened.kind, opened.details["still_going"]) == (IncidentKind.RUN_DURATION, True)
        assert "has been going on for 11.0 min" in opened.message
    watch.look()
    [row] = watch.world.sql("SELECT message, next_command FROM bridge.incidents")
    assert "process that is gone" in row[0]
    assert row[1] == "sync-pipelines sync erp/items"
    watch.world.sync()
    watch.look()
    assert watch.incidents() == [("run_duration", "erp/items", "over")]


def test_a_decision_that_is_needed_is_reported_until_it_is_taken(watch: Watch) -> None:
    table = watch.world.add_items(2)
    watch.world.sync()
    table.change_column("base_uom", "VARCHAR(5)")
    watch.world.discover()
    [opened] = watch.look().evaluation.opened
    assert opened.kind is IncidentKind.ACTION_REQUIRED
    assert opened.next_command == "sync-pipelines discover erp --accept items"
    watch.world.discover("items")
    watch.look()
    assert watch.incidents() == [("action_required", "erp/items", "over")]


def test_an_entity_that_nobody_syncs_any_more_gets_old_and_is_reported(watch: Watch) -> None:
    watch.world.add_items(1)
    watch.world.sync()
    assert watch.world.entity().timeline.last_success_at is not None
    assert watch.world.entity().timeline.last_success_at <= clock(watch.world.database)
    watch.world.sql(
        "UPDATE bridge.entities SET last_success_at = now() - interval '11 minutes 1 second'"
    )
    assert [incident.kind for incident in watch.look().evaluation.opened] == [
        IncidentKind.FRESHNESS
    ]
    watch.world.set(sync_enabled=False)
    watch.look()
    assert watch.incidents() == [("freshness", "erp/items", "over")]


def test_a_failed_run_moves_the_last_run_and_not_the_last_success(watch: Watch) -> None:
    watch.world.add_items(1)
    watch.world.sync()
    before = watch.world.entity()
    watch.world.faults.add(Fault("wrong", kind="data", slug="items", status=404, times=None))
    fail(watch)
    after = watch.world.entity()
    assert after.timeline.last_success_at == before.timeline.last_success_at
    assert after.timeline.last_sync_at > before.timeline.last_sync_at


def test_the_failure_rate_counts_the_window_and_not_what_a_person_cancelled(watch: Watch) -> None:
    watch.world.add_items(1)
    insert = """
        INSERT INTO bridge.sync_runs (entity_uid, status, mode, started_at, completed_at, error_details)
        SELECT uid, %s, 'delta', now(), now() - make_interval(mins => %s), %s::jsonb
        FROM bridge.entities, generate_series(1, %s)
    """
    watch.world.sql(insert, "success", 1, None, 19)
    watch.world.sql(insert, "failed", 1, '{"error": "BrokenPageError"}', 1)
    watch.world.sql(insert, "failed", 61, '{"error": "BrokenPageError"}', 50)
    watch.world.sql(insert, "cancelled", 1, '{"error": "InterruptedRunError"}', 50)
    with watch.world.database.connect() as connection:
        [connector] = read_health(
            connection, watch.world.database, window_seconds=3600, min_records=10
        ).connectors
    assert (connector.runs_ended, connector.runs_failed) == (20, 1)
    watch.world.sql(insert, "failed", 1, '{"error": "BrokenPageError"}', 1)
    watch.look()
    assert watch.incidents() == [("failure_rate", "erp", "open")]


def test_the_failure_rate_counts_neither_repetitions_of_a_step_nor_what_an_outage_explains(
    watch: Watch,
) -> None:
    watch.world.add_items(1)
    insert = """
        INSERT INTO bridge.sync_runs (entity_uid, status, mode, started_at, completed_at, error_details)
        SELECT uid, %s, 'delta', now(), now() - make_interval(mins => 1), %s::jsonb
        FROM bridge.entities, generate_series(1, %s)
    """
    watch.world.sql(insert, "success", None, 30)
    watch.world.sql(
        insert,
        "failed",
        '{"error": "BrokenPageError", "category": "answered", "tried_again": true}',
        20,
    )
    watch.world.sql(insert, "failed", '{"error": "SourceBusyError", "category": "unreachable"}', 20)
    watch.world.sql(
        "INSERT INTO bridge.incidents (kind, subject, message, quiet_since, closed_at) VALUES (%s,"
        " 'erp', 'm', now(), now())",
        "source_unreachable",
    )
    watch.look()
    assert watch.incidents() == [("source_unreachable", "erp", "over")]
    with watch.world.database.connect() as connection:
        [connector] = read_health(
            connection, watch.world.database, window_seconds=3600, min_records=10
        ).connectors
    assert (connector.runs_ended, connector.runs_failed) == (30, 0)
    watch.world.sql("DELETE FROM bridge.incidents")
    watch.look()
    assert watch.incidents() == [("failure_rate", "erp", "open")]


def test_a_step_that_tries_again_is_one_failure_however_often_it_tries(watch: Watch) -> None:
    watch.world.add_items(1)
    watch.world.faults.add(Fault("busy", kind="data", slug="items", status=503, times=None))
    for try_again in (True, True, True, False):
        with suppress(SyncError):
            sync_entity(
                watch.world.database,
                "erp",
                "items",
                settings=watch.world.settings,
                will_try_again=try_again,
            )
    assert len(watch.world.runs()) == 4
    watch.look()
    assert watch.incidents() == []
    with watch.world.database.connect() as connection:
        health = read_health(connection, watch.world.database, window_seconds=3600, min_records=10)
    assert (health.connectors[0].runs_failed, health.entities[0].consecutive_failures) == (1, 1)
    fail(watch, times=2)
    watch.look()
    assert watch.incidents() == [("source_unreachable", "erp", "open")]
    [opened] = [row for row in list_incidents(watch.world.database)]
    assert opened["message"].startswith(
        "The last 3 attempts to reach erp failed: The source answered 503"
    )


def test_two_looks_at_once_open_an_incident_once(watch: Watch) -> None:
    watch.world.add_items(1)
    watch.add_webhook()
    watch.world.set(consecutive_failures=3)
    start = threading.Barrier(6)

    def one(_: int) -> None:
        start.wait()
        watch.look()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(6)))
    assert watch.incidents() == [("consecutive_failures", "erp/items", "open")]
    assert watch.receiver.events == [("incident.opened", "consecutive_failures", "erp/items")]


def test_an_incident_of_a_connector_that_is_removed_is_over(watch: Watch) -> None:
    watch.world.add_items(1)
    watch.world.set(consecutive_failures=3)
    watch.look()
    watch.world.sql("DELETE FROM bridge.connectors")
    watch.look()
    assert watch.incidents() == [("consecutive_failures", "erp/items", "over")]


def test_ten_thousand_entities_in_trouble_are_one_message(watch: Watch) -> None:
    watch.world.add_items(1)
    watch.add_webhook()
    watch.world.sql(
        """
        INSERT INTO bridge.entities (connector_uid, slug, api_name, business_keys, target_table, columns, created_at)
        SELECT connector_uid, 'e' || n, 'e', '[]', 'e' || n, '[]', now() - interval '1 day'
        FROM bridge.entities, generate_series(1, 10000) n
        """
    )
    watch.look()
    assert watch.receiver.events == [("incident.opened", "freshness", "erp")]
    assert len(watch.receiver.taken[0]["body"]["text"]) < 1000
