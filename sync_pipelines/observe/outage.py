"""Incidents of the database itself, which cannot be kept in it: a file beside the last known catalog holds them
meanwhile.

The file also remembers the receivers (addresses and references, no secrets), so that they get messages while the
database is down. When it is back, the incident moves into the database, and the message about its end goes through the
outbox like any other.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.deliveries import enqueue_delivery
from sync_pipelines.catalog.webhooks import list_webhooks
from sync_pipelines.errors import DatabaseConnectionsError, SyncError
from sync_pipelines.files.private import make_private_folder, private_opener
from sync_pipelines.model.incident import DATABASE, TITLES, Condition, IncidentKind, Webhook
from sync_pipelines.observe.lines import OPENED_WORD, over_line
from sync_pipelines.observe.payload import CLOSED, OPENED, incident_payload
from sync_pipelines.observe.webhooks import Answer, outbound_of, send_message
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings

logger = logging.getLogger(__name__)

FILE_NAME = "alerts.json"
_LOCK_NAME = "alerts.lock"


@dataclass
class Outage:
    """An incident of the database.

    Attributes:
        failures: evaluations that could not reach the database; a single one may be a restart and sends no message.
        informed: names of the receivers that took the message.
    """

    uid: str
    kind: str
    message: str
    since: str
    failures: int = 0
    quiet_since: str | None = None
    body: str | None = None
    informed: list[str] = field(default_factory=list)


@dataclass
class _Memory:
    webhooks: list[dict[str, Any]] = field(default_factory=list)
    outage: Outage | None = None


def note_outage(
    home: Path,
    settings: Settings,
    error: SyncError,
    now: datetime | None = None,
) -> None:
    """The database did not answer: from the second time in a row, send every known receiver one message."""
    now = now or datetime.now(UTC)
    with _memory(home) as memory:
        outage = memory.outage or _new_outage(error, now)
        memory.outage = outage
        outage.failures += 1
        outage.quiet_since = None
        if outage.failures < 2:
            return
        if outage.body is None:
            outage.body = _body(outage, OPENED, now, settings)
            logger.error(
                "%s: %s: %s. %s",
                OPENED_WORD,
                TITLES[IncidentKind(outage.kind)],
                DATABASE,
                outage.message,
            )
        receivers = map(_webhook, memory.webhooks)
        waiting = [webhook for webhook in receivers if _waits(webhook, outage)]
        if waiting:
            _send(outage, outage.body, waiting, settings)


def _new_outage(error: SyncError, now: datetime) -> Outage:
    kind = IncidentKind.DATABASE_UNAVAILABLE
    if isinstance(error, DatabaseConnectionsError):
        kind = IncidentKind.DATABASE_CONNECTIONS
    return Outage(
        uid=str(uuid4()),
        kind=str(kind),
        message=printable(error.what, 400),
        since=now.isoformat(),
    )


def _waits(webhook: Webhook, outage: Outage) -> bool:
    """Whether a receiver wants the message and has not taken it yet."""
    if webhook.name in outage.informed:
        return False
    return webhook.kinds is None or outage.kind in webhook.kinds


def _send(
    outage: Outage,
    body: str,
    waiting: list[Webhook],
    settings: Settings,
) -> None:
    """Send the message to all at the same time.

    A sensor has a minute, and a receiver that hangs takes its whole timeout.
    """

    def send(webhook: Webhook) -> Answer:
        return send_message(
            webhook.url,
            webhook.secret,
            f"msg_{UUID(outage.uid).hex}",
            body,
            settings.alerts.alert_webhook_timeout_seconds,
            outbound_of(webhook, settings),
        )

    with ThreadPoolExecutor(len(waiting), "webhook") as pool:
        answers = list(pool.map(send, waiting))
    for webhook, answer in zip(waiting, answers, strict=True):
        if answer.error is None:
            outage.informed.append(webhook.name)
        else:
            logger.warning(
                "the webhook %s got no message about the database: %s",
                printable(webhook.name),
                answer.error,
            )


def end_outage(
    database: Database,
    home: Path,
    settings: Settings,
    now: datetime | None = None,
) -> None:
    """The database answers: remember the receivers, and close an outage that has been over for long enough."""
    now = now or datetime.now(UTC)
    with database.connect() as connection:
        webhooks = list_webhooks(connection, only_active=True)
    with _memory(home) as memory:
        memory.webhooks = [{**asdict(webhook), "uid": str(webhook.uid)} for webhook in webhooks]
        outage = memory.outage
        if outage is None:
            return
        if outage.body is None:  # no receiver was informed
            memory.outage = None
            return
        outage.quiet_since = outage.quiet_since or now.isoformat()
        quiet = now - datetime.fromisoformat(outage.quiet_since)
        if quiet.total_seconds() < settings.alerts.alert_close_after_seconds:
            return
        _move(database, outage, webhooks, settings, now)
        memory.outage = None
        logger.warning("%s", over_line(TITLES[IncidentKind(outage.kind)], DATABASE))


def _move(
    database: Database,
    outage: Outage,
    webhooks: list[Webhook],
    settings: Settings,
    now: datetime,
) -> None:
    with database.connect() as connection:
        connection.execute(
            """
            INSERT INTO incidents (uid, kind, subject, message, next_command, details, opened_at, last_seen_at,
                quiet_since, closed_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, now()) ON CONFLICT (uid) DO NOTHING
            """,
            [
                outage.uid,
                outage.kind,
                DATABASE,
                outage.message,
                "sync-pipelines doctor",
                Jsonb({"failures": outage.failures}),
                outage.since,
                outage.quiet_since,
                outage.quiet_since,
            ],
        )
        body = _body(outage, CLOSED, now, settings)
        for webhook in webhooks:
            if webhook.name in outage.informed:
                enqueue_delivery(
                    connection,
                    UUID(outage.uid),
                    webhook,
                    CLOSED,
                    body,
                )


def _body(outage: Outage, event: str, now: datetime, settings: Settings) -> str:
    condition = Condition(
        IncidentKind(outage.kind),
        DATABASE,
        outage.message,
        "sync-pipelines doctor",
        {"failures": outage.failures},
    )
    over_since = datetime.fromisoformat(outage.quiet_since) if outage.quiet_since else None
    return incident_payload(
        event,
        outage.uid,
        condition,
        opened_at=datetime.fromisoformat(outage.since),
        at=now,
        over_since=over_since,
        ui_url=settings.ui.ui_url,
    )


def _webhook(row: dict[str, Any]) -> Webhook:
    kinds = row["kinds"] and tuple(IncidentKind(kind) for kind in row["kinds"])
    return Webhook(
        UUID(row["uid"]),
        row["name"],
        row["url"],
        row["secret"],
        kinds,
        row["is_active"],
        tuple(row.get("private_origins", ())),
    )


@contextmanager
def _memory(home: Path) -> Iterator[_Memory]:
    """The file's content under a lock; written back, atomically and readable by this user alone, when it changed."""
    make_private_folder(home)
    path = home / FILE_NAME
    with open(home / _LOCK_NAME, "w", opener=private_opener) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            stored = json.loads(path.read_text())
            memory = _Memory(stored["webhooks"], _outage(stored["outage"]))
        except (OSError, ValueError, KeyError, TypeError):
            memory = _Memory()
        before = json.dumps(asdict(memory), default=str)
        yield memory
        after = json.dumps(asdict(memory), default=str)
        if after != before:
            with tempfile.NamedTemporaryFile("w", dir=home, delete=False) as file:
                file.write(after)
            os.replace(file.name, path)


def _outage(stored: dict[str, Any] | None) -> Outage | None:
    if stored is None:
        return None
    if "told" in stored:  # so an outage that an upgrade interrupts is not forgotten
        stored["informed"] = stored.pop("told")
    return Outage(**stored)
