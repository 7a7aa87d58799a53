"""A receiver, and a world whose incidents it hears of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sync_pipelines.catalog.heartbeats import Looker
from sync_pipelines.catalog.incidents import list_incidents
from sync_pipelines.catalog.webhooks import add_webhook
from sync_pipelines.model.incident import IncidentKind
from sync_pipelines.observe.watch import Look, look
from sync_pipelines.settings import Settings
from sync_pipelines_tests.observe.receiver import KEY, Receiver, receiving
from sync_pipelines_tests.world import World


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("HOOK_KEY", KEY)
    with receiving() as server:
        yield server


@dataclass
class Watch:
    """A world that is looked at."""

    world: World
    receiver: Receiver
    settings: Settings

    def add_webhook(self, *kinds: IncidentKind, name: str = "ops") -> None:
        add_webhook(self.world.database, self.receiver.url, "env:HOOK_KEY", name=name, kinds=kinds)

    def look(self, looker: Looker = Looker.DAGSTER, **changes: Any) -> Look:
        """One look; an incident is over as soon as its condition is gone, unless the settings are changed."""
        return look(
            lambda: self.world.database, self.settings.model_copy(update=changes), looker=looker
        )

    def incidents(self) -> list[tuple[str, str, str]]:
        rows = list_incidents(self.world.database)
        return sorted(
            (row["kind"], row["subject"], "over" if row["closed_at"] else "open") for row in rows
        )

    def due_now(self) -> None:
        """Let every waiting message be due, as if the pause were over."""
        self.world.sql(
            "UPDATE bridge.deliveries SET next_attempt_at = now() WHERE delivered_at IS NULL"
        )

    def deliveries(self) -> list[dict[str, Any]]:
        with self.world.database.connect() as connection:
            return list(connection.execute("SELECT * FROM deliveries ORDER BY sequence"))


@pytest.fixture
def watch(world: World, receiver: Receiver, settings: Settings) -> Watch:
    changed = {
        "alert_close_after_seconds": 0,
        "alert_webhook_timeout_seconds": 5.0,
        "alert_connection_share": 1.0,
    }
    return Watch(world, receiver, settings.model_copy(update=changed))
