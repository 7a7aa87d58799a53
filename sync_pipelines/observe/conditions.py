"""What is wrong now: pure functions from the health of everything to conditions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sync_pipelines.catalog.health import ConnectorHealth, EntityHealth, Health
from sync_pipelines.catalog.heartbeats import Looker
from sync_pipelines.errors import Category, ConfigurationError
from sync_pipelines.model.entity import EntityStatus
from sync_pipelines.model.freshness import (
    StatusWord,
    freshness_windows,
    plan_freshness,
    status_word,
)
from sync_pipelines.model.incident import DAGSTER, DATABASE, Condition, IncidentKind
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings

# What was late or failed because nobody worked, or because the source was away, has so long to catch up before it is
# reported.
CATCH_UP_SECONDS = 900
_MESSAGE_CHARACTERS = 400


def find_conditions(health: Health, settings: Settings) -> list[Condition]:
    """Everything that is wrong now, before consequences are left out and much of a kind is put together."""
    by_connector: dict[str, list[EntityHealth]] = {
        connector.name: [] for connector in health.connectors
    }
    for entity in health.entities:
        by_connector.setdefault(entity.connector, []).append(entity)
    found: list[Condition] = [*_database(health, settings), *_silence(health, settings)]
    outages = {connector.name: connector.outage_ended_at for connector in health.connectors}
    for connector in health.connectors:
        found += _connector(connector, by_connector[connector.name], settings)
    for entity in health.entities:
        blocked = [
            moment
            for moment in (health.resumed_at, outages.get(entity.connector))
            if moment is not None
        ]
        found += _entity(entity, health.now, settings, max(blocked, default=None))
    return found


def _silence(health: Health, settings: Settings) -> Iterator[Condition]:
    """Somebody beside Dagster notices that the sensor in it is not heard of any more."""
    allowed = settings.alerts.alert_silence_seconds
    dagster = health.heard_of(Looker.DAGSTER)
    own = health.heard_of(health.looker)
    if not allowed or health.looker is Looker.DAGSTER or dagster is None or own is None:
        return
    silent = (health.now - dagster.last_at).total_seconds()
    watched = silent if own.resumed_at is None else (health.now - own.resumed_at).total_seconds()
    if min(silent, watched) <= allowed:
        return
    yield Condition(
        IncidentKind.DAGSTER_SILENT,
        DAGSTER,
        f"The sensor alerts of Dagster was last heard of {silent / 60:.0f} min ago (allowed {allowed / 60:g} min):"
        " its code server or daemon does not work, or somebody switched the sensor off. Nothing is synced by"
        " itself meanwhile.",
        "sync-pipelines doctor, then start `sync-pipelines up` or the containers code and daemon again",
        {"silent_seconds": round(silent), "allowed_seconds": allowed},
    )


def _database(health: Health, settings: Settings) -> Iterator[Condition]:
    used = health.connections_used
    usable = health.connections_usable
    recently = health.now - timedelta(seconds=settings.alerts.alert_close_after_seconds)
    refused = [
        entity
        for entity in health.entities
        if entity.last_category is Category.CONNECTIONS
        and entity.last_completed_at
        and entity.last_completed_at >= recently
    ]
    if used >= usable * settings.alerts.alert_connection_share or refused:
        failed = (
            f"; {len(refused)} syncs failed for want of one, for example {refused[0].path}"
            if refused
            else ""
        )
        yield Condition(
            IncidentKind.DATABASE_CONNECTIONS,
            DATABASE,
            f"{used} of {usable} connections of PostgreSQL are in use{failed}.",
            "SELECT application_name, usename, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3 ORDER BY 4 DESC;",
            {"used": used, "usable": usable, "failed_syncs": len(refused)},
        )


def _connector(
    connector: ConnectorHealth,
    entities: list[EntityHealth],
    settings: Settings,
) -> Iterator[Condition]:
    attempts, error = unreachable_attempts(connector, entities)
    if attempts >= settings.alerts.alert_consecutive_failures:
        yield Condition(
            IncidentKind.SOURCE_UNREACHABLE,
            connector.name,
            f"The last {attempts} attempts to reach {connector.name} failed: {_short(error)}",
            f"sync-pipelines connector test {connector.name}",
            {"attempts": attempts, "error": _short(error)},
        )
    # As long as the last attempt found nobody, it is not known yet whether this is an outage: that would be the cause,
    # and is reported first.
    in_doubt = 0 < attempts < settings.alerts.alert_consecutive_failures
    share = connector.runs_failed / connector.runs_ended if connector.runs_ended else 0.0
    if (
        not in_doubt
        and connector.runs_ended >= settings.alerts.alert_failure_min_runs
        and share > settings.alerts.alert_failure_rate
    ):
        minutes = settings.alerts.alert_failure_window_seconds / 60
        yield Condition(
            IncidentKind.FAILURE_RATE,
            connector.name,
            f"{connector.runs_failed} of {connector.runs_ended} syncs of {connector.name} failed in the last"
            f" {minutes:g} min ({share:.1%}, allowed {settings.alerts.alert_failure_rate:.1%}).",
            f"sync-pipelines runs {connector.name}",
            {
                "runs_ended": connector.runs_ended,
                "runs_failed": connector.runs_failed,
                "failure_rate": round(share, 4),
            },
        )


def unreachable_attempts(
    connector: ConnectorHealth, entities: list[EntityHealth]
) -> tuple[int, str | None]:
    """How many attempts in a row, of any entity or discovery, found the source unreachable, and how the last one
    failed.

    Any answer of the source, even a refusal, counts as contact, and only what failed after the last contact counts. A
    run whose step tries again is one attempt with its repetitions.
    """
    failures: list[tuple[datetime, str | None]] = []
    failed_at = connector.last_discovery_failed_at if connector.last_discovery_error else None
    if failed_at and connector.last_discovery_category is Category.UNREACHABLE:
        failures.append((failed_at, connector.last_discovery_error))
    for entity in entities:
        failures += [
            (moment, entity.last_error) for moment in entity.failures_with(Category.UNREACHABLE)
        ]
    last_contact = max(_contacts(connector, entities), default=None)
    since = [failure for failure in failures if last_contact is None or failure[0] > last_contact]
    return len(since), max(since, key=lambda failure: failure[0])[1] if since else None


def _contacts(connector: ConnectorHealth, entities: list[EntityHealth]) -> Iterator[datetime]:
    """When the source answered, with data or with a refusal."""
    if connector.last_discovered_at:
        yield connector.last_discovered_at
    failed_at = connector.last_discovery_failed_at if connector.last_discovery_error else None
    # The category is looked at first: what was unreachable did not answer.
    is_unreachable = connector.last_discovery_category is Category.UNREACHABLE
    if failed_at and not is_unreachable and connector.last_discovery_error_answered:
        yield failed_at
    for entity in entities:
        if entity.last_contact_at:
            yield entity.last_contact_at


def _entity(
    entity: EntityHealth,
    now: datetime,
    settings: Settings,
    blocked_until: datetime | None,
) -> Iterator[Condition]:
    """Conditions of one entity.

    Args:
        entity: its health.
        now: by the database's clock.
        settings: thresholds.
        blocked_until: the end of a time in which it could not be synced, for a reason that is not the entity's.
    """
    if entity.status is EntityStatus.VANISHED or not entity.sync_enabled:
        return
    if entity.status is EntityStatus.ACTION_REQUIRED:
        yield Condition(
            IncidentKind.ACTION_REQUIRED,
            entity.path,
            f"{entity.path} is not synced until somebody decides: {_short(entity.status_reason)}",
            f"sync-pipelines discover {entity.connector} --accept {entity.slug}",
            {"reason": _short(entity.status_reason)},
        )
        return
    untried = (
        blocked_until and entity.last_completed_at and entity.last_completed_at <= blocked_until
    )
    of_outage = (
        entity.last_category is Category.UNREACHABLE
        and untried
        and not _caught_up(blocked_until, now)
    )
    if entity.consecutive_failures >= settings.alerts.alert_consecutive_failures and not of_outage:
        yield Condition(
            IncidentKind.CONSECUTIVE_FAILURES,
            entity.path,
            f"{entity.path} failed {entity.consecutive_failures} times in a row: {_short(entity.last_error)}"
            + (
                " Trying again does not help."
                if entity.last_exit_code == ConfigurationError.exit_code
                and not entity.last_is_retriable
                else ""
            ),
            entity.last_next_command or f"sync-pipelines runs {entity.path}",
            {
                "failures": entity.consecutive_failures,
                "error": entity.last_error_kind,
                "category": _text(entity.last_category),
                "run": _text(entity.last_uid),
            },
        )
    yield from _duration(entity, settings)
    yield from _slow_source(entity, settings)
    yield from _rejections(entity, settings)
    yield from _held_deletions(entity)
    if _caught_up(blocked_until, now):
        yield from _freshness(entity, now, settings)


def _caught_up(blocked_until: datetime | None, now: datetime) -> bool:
    return blocked_until is None or (now - blocked_until).total_seconds() > CATCH_UP_SECONDS


def _duration(entity: EntityHealth, settings: Settings) -> Iterator[Condition]:
    allowed = settings.alerts.alert_duration_seconds
    if entity.running_seconds is not None and entity.running_seconds > allowed:
        state = "has been going on for"
        run = entity.running_uid
        seconds = entity.running_seconds
        command = f"sync-pipelines runs show {run}"
        if not entity.running_alive:
            state = "was left by a process that is gone; it has been open for"
            command = f"sync-pipelines sync {entity.path}"
    elif (
        entity.running_uid is None
        and entity.last_seconds is not None
        and entity.last_seconds > allowed
    ):
        if (
            entity.last_category is Category.DIED
        ):  # closed by the next run: the time in between is not its own
            return
        state = "took"
        run = entity.last_uid
        seconds = entity.last_seconds
        command = f"sync-pipelines runs show {run}"
    else:
        return
    yield Condition(
        IncidentKind.RUN_DURATION,
        entity.path,
        f"A sync of {entity.path} {state} {seconds / 60:.1f} min (allowed {allowed / 60:g} min).",
        command,
        {
            "seconds": round(seconds),
            "run": _text(run),
            "still_going": entity.running_uid is not None,
        },
    )


def _slow_source(entity: EntityHealth, settings: Settings) -> Iterator[Condition]:
    seconds = entity.last_response_seconds
    if seconds is not None and seconds > settings.alerts.alert_response_seconds:
        yield Condition(
            IncidentKind.SLOW_SOURCE,
            entity.path,
            f"The source took {seconds:.1f} s to answer a request for {entity.path} (allowed"
            f" {settings.alerts.alert_response_seconds:g} s).",
            f"sync-pipelines runs show {entity.last_uid}",
            {"response_seconds": round(seconds, 3), "run": _text(entity.last_uid)},
        )


def _rejections(entity: EntityHealth, settings: Settings) -> Iterator[Condition]:
    judged = entity.rejecting_judged
    rejected = entity.rejecting_quarantined
    if not judged or rejected is None:
        return
    share = rejected / judged
    enough = (
        judged >= settings.alerts.alert_rejection_min_records
        and share > settings.alerts.alert_rejection_rate
    )
    if enough or rejected == judged:
        yield Condition(
            IncidentKind.REJECTION_RATE,
            entity.path,
            f"{rejected} of {judged} records of {entity.path} were rejected ({share:.1%},"
            f" allowed {settings.alerts.alert_rejection_rate:.1%}).",
            f"sync-pipelines quarantine list {entity.path} --run {entity.rejecting_uid}",
            {
                "records": judged,
                "quarantined": rejected,
                "rejection_rate": round(share, 4),
                "run": _text(entity.rejecting_uid),
            },
        )


def _held_deletions(entity: EntityHealth) -> Iterator[Condition]:
    if entity.held_deletions:
        yield Condition(
            IncidentKind.ACTION_REQUIRED,
            entity.path,
            f"A full read misses {entity.held_deletions} rows of {entity.path}, too many to be deleted unasked;"
            " they stay until somebody decides.",
            f"sync-pipelines sync {entity.path} --full-refresh --accept-vanished, if it is true",
            {"held_deletions": entity.held_deletions},
        )


def _freshness(
    entity: EntityHealth,
    now: datetime,
    settings: Settings,
) -> Iterator[Condition]:
    if not plan_freshness(entity.status, sync_enabled=entity.sync_enabled):
        return
    never = entity.last_success_at is None
    if never and entity.running_uid is not None:  # its first load is under way
        return
    since = entity.last_success_at or entity.created_at
    word = status_word(
        status=entity.status,
        sync_enabled=entity.sync_enabled,
        sync_interval_seconds=entity.sync_interval_seconds,
        last_success_at=since,
        now=now,
        grace_seconds=settings.alerts.freshness_grace_seconds,
    )
    if (
        since is None
        or word is not StatusWord.ERROR
        and not (word is StatusWord.LATE and settings.alerts.alert_freshness == "late")
    ):
        return
    windows = freshness_windows(
        entity.sync_interval_seconds, settings.alerts.freshness_grace_seconds
    )
    allowed = (
        windows.late_seconds if settings.alerts.alert_freshness == "late" else windows.error_seconds
    )
    age = (now - since).total_seconds()
    what = "was never synced since it was discovered" if never else "was last synced"
    yield Condition(
        IncidentKind.FRESHNESS,
        entity.path,
        f"{entity.path} {what} {age / 60:.0f} min ago (allowed {allowed / 60:.0f} min).",
        f"sync-pipelines runs {entity.path}",
        {
            "age_seconds": round(age),
            "allowed_seconds": allowed,
            "interval_seconds": entity.sync_interval_seconds,
        },
    )


def _short(text: str | None) -> str:
    return printable(text or "no reason is known", _MESSAGE_CHARACTERS)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
