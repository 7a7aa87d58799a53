"""Deliver what waits in the outbox: at least once, in order for each incident, retried with backoff."""

from __future__ import annotations

import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.deliveries import (
    claim_delivery,
    mark_delivered,
    mark_failed,
    switch_off_webhook,
)
from sync_pipelines.catalog.webhooks import list_webhooks
from sync_pipelines.model.incident import Webhook
from sync_pipelines.observe.webhooks import GONE, Answer, outbound_of, send_message
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings

logger = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS = 3600.0
MAX_THREADS = 8
BUDGET_SECONDS = 20.0


@dataclass(frozen=True)
class Deliveries:
    """What one round did."""

    delivered: int = 0
    failed: int = 0
    given_up: int = 0

    def __add__(self, other: Deliveries) -> Deliveries:
        return Deliveries(
            self.delivered + other.delivered,
            self.failed + other.failed,
            self.given_up + other.given_up,
        )


def plan_retry(
    attempts: int,
    answer: Answer,
    settings: Settings,
    jitter: float = 1.0,
) -> float | None:
    """Seconds until the next attempt after `attempts` failed ones; None when it is given up.

    Args:
        attempts: failed so far, this one included.
        answer: how this one ended.
        settings: tries and the first pause, which doubles.
        jitter: a factor near 1, so that receivers that failed together are not asked together.
    """
    if answer.status == GONE or attempts >= settings.alerts.alert_webhook_tries:
        return None
    pause = settings.alerts.alert_webhook_backoff_seconds * 2.0 ** min(attempts - 1, 30) * jitter
    return min(MAX_BACKOFF_SECONDS, max(pause, answer.retry_after_seconds or 0.0))


def deliver_waiting(
    database: Database,
    settings: Settings,
    budget_seconds: float = BUDGET_SECONDS,
) -> Deliveries:
    """Send what is due to every active receiver, receivers at the same time; returns after about `budget_seconds`.

    A receiver that fails is left alone for this round, so that it costs one timeout and no more.
    """
    ends_at = time.monotonic() + budget_seconds
    with database.connect() as connection:
        webhooks = list_webhooks(connection, only_active=True)
    if not webhooks:
        return Deliveries()
    with ThreadPoolExecutor(min(MAX_THREADS, len(webhooks)), "webhook") as pool:
        return sum(
            pool.map(lambda webhook: _serve(database, settings, webhook, ends_at), webhooks),
            Deliveries(),
        )


def _serve(database: Database, settings: Settings, webhook: Webhook, ends_at: float) -> Deliveries:
    done = Deliveries()
    while time.monotonic() < ends_at:
        with database.connect() as connection:
            message = claim_delivery(
                connection, webhook, 2 * settings.alerts.alert_webhook_timeout_seconds + 5
            )
        if message is None:
            break
        answer = send_message(
            webhook.url,
            webhook.secret,
            f"msg_{message['uid'].hex}",
            message["body"],
            settings.alerts.alert_webhook_timeout_seconds,
            outbound_of(webhook, settings),
        )
        with database.connect() as connection:
            if answer.error is None:
                mark_delivered(connection, message["uid"], answer.status or 0)
                done += Deliveries(delivered=1)
                continue
            retry = plan_retry(message["attempts"], answer, settings, random.uniform(0.8, 1.2))
            mark_failed(connection, message["uid"], answer.status, answer.error, retry)
            if answer.status == GONE:
                switch_off_webhook(connection, webhook, "The receiver is gone (410).")
        _log_failure(webhook, message["attempts"], answer, retry)
        return done + Deliveries(failed=1, given_up=retry is None)
    return done


def _log_failure(webhook: Webhook, attempts: int, answer: Answer, retry: float | None) -> None:
    name = printable(webhook.name)
    if answer.status == GONE:
        logger.error(
            "The webhook %s is gone (410) and was switched off. Next: sync-pipelines alerts webhook list",
            name,
        )
    elif retry is None:
        logger.error(
            "A message to the webhook %s was given up after %d tries: %s Next: sync-pipelines alerts test %s",
            name,
            attempts,
            answer.error,
            name,
        )
    else:
        logger.warning(
            "Try %d of a message to the webhook %s failed, next in %.0f s: %s",
            attempts,
            name,
            retry,
            answer.error,
        )
