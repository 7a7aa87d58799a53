"""A secret that a source or a receiver echoes is in no message, log, table or file of the alerts."""

from __future__ import annotations

import json
import logging

import pytest

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.incidents import get_incident, list_incidents
from sync_pipelines.catalog.webhooks import add_webhook
from sync_pipelines.demo.twin import Fault, TwinServer, TwinStore
from sync_pipelines.errors import SyncError
from sync_pipelines.observe.outage import FILE_NAME
from sync_pipelines.observe.watch import look
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.settings import Settings
from sync_pipelines_tests.observe.receiver import KEY, Receiver
from sync_pipelines_tests.test_canaries import every_text_with
from sync_pipelines_tests.world import World

CANARY = "canary-9c41aa07-tokens-never-alert"


def test_an_echoed_token_and_the_signing_key_are_nowhere(
    database: Database,
    settings: Settings,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CANARY_TOKEN", CANARY)
    settings = settings.model_copy(update={"alert_connection_share": 1.0})
    with TwinServer(TwinStore(), token=CANARY) as server:
        add_connector(
            database, "erp", server.url, "env:CANARY_TOKEN", settings={"backoff_seconds": 0}
        )
        world = World(database, settings, server.store, server)
        world.add_items(3)
        add_webhook(database, receiver.url, "env:HOOK_KEY")
        world.faults.add(Fault(kind="data", status=400, echo_authorization=True, times=None))
        for _ in range(3):
            with pytest.raises(SyncError):
                sync_entity(database, "erp", "items", settings=settings)
        # A token that got into the catalog before the redactor knew it must not leave it, either.
        world.sql(
            "UPDATE bridge.sync_runs SET error_details = error_details || jsonb_build_object('next_command', %s::text)",
            f"curl -H 'Bearer {CANARY}'",
        )
        receiver.answers, receiver.answer_body = [500], f"you sent {KEY} and {CANARY}".encode()
        look(lambda: database, settings)
        world.sql("UPDATE bridge.deliveries SET next_attempt_at = now()")
        look(lambda: database, settings)
        assert [event for event, *_ in receiver.events] == ["incident.opened"]
        sent = json.dumps([[request["body"], request["headers"]] for request in receiver.requests])
        [row] = list_incidents(database)
        kept = (settings.home / FILE_NAME).read_text() + str(get_incident(database, row["uid"])[1])
        for secret in (CANARY, KEY, KEY.removeprefix("whsec_")):
            assert secret not in sent
            assert secret not in caplog.text
            assert secret not in kept
        assert every_text_with(world, KEY) == []
        # This test put it there.
        assert {table for table in every_text_with(world, CANARY)} <= {"bridge.sync_runs"}
