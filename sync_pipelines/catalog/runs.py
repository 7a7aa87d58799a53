"""Rows of `bridge.sync_runs`: every run ends in exactly one terminal row."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from sync_pipelines.catalog.database import Database, classify_database_error
from sync_pipelines.errors import (
    DIED_CODE,
    UNEXPECTED_CODE,
    Category,
    EntityBusyError,
    IncompleteAnswerError,
    InterruptedRunError,
    NotFoundError,
    RetriableError,
    SyncError,
)
from sync_pipelines.model.due import FULL_READ_TRIES, plan_retry_seconds
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.run import Mode, RunStatus
from sync_pipelines.secrets import redact_beginning, redact_data

logger = logging.getLogger(__name__)

_ERROR_CHARACTERS = 10_000
_DIED = {
    "error": "InterruptedRun",
    "code": DIED_CODE,
    "retriable": True,
    "category": str(Category.DIED),
    "exit_code": 1,
}


@contextmanager
def hold_entity(
    database: Database,
    entity: Entity,
    wait_seconds: float,
) -> Iterator[psycopg.Connection[Any]]:
    """Hold the entity for one writer, whoever it is: schedule, UI, command line.

    The lock lives on its own connection and goes away with the process.

    Raises:
        EntityBusyError: another run holds it and did not finish within `wait_seconds`.
    """
    with database.connect(autocommit=True, alone=True) as connection:
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false)",
            [f"{max(1, int(wait_seconds * 1000))}ms"],
        )
        try:
            connection.execute(
                "SELECT pg_advisory_lock(hashtextextended(%s, 0))",
                [lock_name(database, entity.uid)],
            )
        except psycopg.errors.LockNotAvailable as error:
            raise EntityBusyError(
                f"Another run is syncing {entity.path} and did not finish within {wait_seconds:g} s.",
                where=dict(entity.where),
                state="That run goes on; this one changed nothing.",
                next_command=f"sync-pipelines runs {entity.path}",
            ) from error
        yield connection


def lock_name(database: Database, entity_uid: UUID) -> str:
    """Name of the advisory lock of an entity."""
    return f"sync_pipelines:{database.bridge_schema}:entity:{entity_uid}"


def start_run(
    connection: psycopg.Connection[Any],
    entity: Entity,
    mode: Mode,
    triggered_by: str,
    rowversion_start: str | None,
    *,
    interrupted: str,
) -> tuple[UUID, datetime]:
    """Open a run of an entity that is locked; earlier runs that never ended are closed as failed.

    Args:
        connection: holds the lock of the entity.
        entity: of the run.
        mode: what is read.
        triggered_by: who asked.
        rowversion_start: the cursor that the read starts from.
        interrupted: what an earlier run left behind whose process ended, in words.

    Returns:
        The run's uid and its start by the database clock.
    """
    connection.execute(
        """
        UPDATE sync_runs SET status = 'failed', completed_at = now(), error_message = %s,
            error_details = %s
        WHERE entity_uid = %s AND status = 'running'
        """,
        [interrupted, Jsonb(_DIED), entity.uid],
    )
    row = connection.execute(
        """
        INSERT INTO sync_runs (entity_uid, status, mode, triggered_by, rowversion_start)
        VALUES (%s, 'running', %s, %s, %s) RETURNING uid, started_at
        """,
        [entity.uid, mode, triggered_by, rowversion_start],
    ).fetchone()
    connection.execute(
        "UPDATE entities SET last_sync_status = 'running' WHERE uid = %s", [entity.uid]
    )
    assert row is not None
    return row["uid"], row["started_at"]


def last_details(connection: psycopg.Connection[Any], entity: Entity) -> dict[str, Any]:
    """The details of the newest run of an entity that published; empty before the first."""
    row = connection.execute(
        """
        SELECT details FROM sync_runs WHERE entity_uid = %s AND details ? 'row_count' ORDER BY started_at DESC LIMIT 1
        """,
        [entity.uid],
    ).fetchone()
    return {} if row is None else dict(row["details"])


def fail_run(
    database: Database,
    entity: Entity,
    run_uid: UUID,
    error: BaseException,
    *,
    lease: UUID | None = None,
    tried_again: bool = False,
    released: bool = False,
) -> None:
    """Close a run that published nothing with a secret-free message, on a fresh connection, and say when the entity is
    due again.

    It is cancelled when a person or a signal ended it, incomplete when too little of an id list came back, else failed.

    Args:
        database: where the catalog is.
        entity: as it was when the run began.
        run_uid: the run.
        error: what ended it; a cancelled run does not count as a failure of the entity.
        lease: by which the entity was taken for the run; it ends here.
        tried_again: the caller is about to try once more, so that neither lease nor due time nor the count of failures
            change.
        released: the run was a release, which says nothing about the entity as a whole.

    If the database does not let us, the next run of the entity closes it; the caller's error must come through.
    """
    try:
        _fail_run(
            database,
            entity,
            run_uid,
            error,
            lease,
            tried_again=tried_again,
            released=released,
        )
    except SyncError as trouble:
        logger.warning(
            "run %s could not be closed as failed, the next one will: %s", run_uid, trouble
        )


def _shortened(text: str) -> str:
    return redact_beginning(text, _ERROR_CHARACTERS)


def ending_of(error: BaseException) -> RunStatus:
    """The status of a run that this error ended."""
    # What is no Exception (KeyboardInterrupt, Dagster's interruption of a step, SystemExit) was sent by somebody.
    if isinstance(error, InterruptedRunError) or not isinstance(error, Exception):
        return RunStatus.CANCELLED
    return RunStatus.INCOMPLETE if isinstance(error, IncompleteAnswerError) else RunStatus.FAILED


def _unexpected(error: BaseException) -> dict[str, Any]:
    """The details of an error that is none of ours."""
    name = type(error).__name__
    return {
        "error": name,
        "code": UNEXPECTED_CODE,
        "category": str(Category.OTHER),
        "what": str(error),
    }


def _fail_run(
    database: Database,
    entity: Entity,
    run_uid: UUID,
    error: BaseException,
    lease: UUID | None,
    *,
    tried_again: bool,
    released: bool,
) -> None:
    status = ending_of(error)
    last_status: str | None = str(status)
    # In Trino the released rows may be in the table, so that they have to be counted anew.
    if released and entity.destination == "postgres":
        last_status = entity.timeline.last_sync_status
    failures = entity.timeline.consecutive_failures + (status is not RunStatus.CANCELLED)
    details: dict[str, Any] = (
        error.details() if isinstance(error, SyncError) else _unexpected(error)
    )
    if tried_again:  # one attempt of several, which are one failure together
        details["tried_again"] = True
    with database.connect() as connection:
        connection.execute("SET LOCAL lock_timeout = '10s'")
        row = connection.execute(
            """
            UPDATE sync_runs SET status = %s, completed_at = now(), error_message = %s, error_details = %s
            WHERE uid = %s AND status = 'running' RETURNING mode
            """,
            [
                str(status),
                redact_data(str(error), _shortened),
                Jsonb(redact_data(details, _shortened)),
                run_uid,
            ],
        ).fetchone()
        if row is not None:
            connection.execute(
                "UPDATE entities SET last_sync_at = CASE WHEN %s THEN last_sync_at ELSE now() END, last_sync_status"
                " = %s WHERE uid = %s",
                [released, last_status, entity.uid],
            )
        if row is not None and not tried_again:
            connection.execute(
                """
                UPDATE entities SET consecutive_failures = %(failures)s, due_reason = 'retry',
                    next_due_at = now() + %(pause)s * interval '1 second', full_read_due = full_read_due AND
                        %(keep_full_read)s,
                    lease_uid = CASE WHEN lease_uid IS DISTINCT FROM %(lease)s::uuid THEN lease_uid END,
                    leased_at = CASE WHEN lease_uid IS DISTINCT FROM %(lease)s::uuid THEN leased_at END,
                    leased_until = CASE WHEN lease_uid IS DISTINCT FROM %(lease)s::uuid THEN leased_until END
                WHERE uid = %(uid)s
                """,
                {
                    "failures": failures,
                    "pause": plan_retry_seconds(
                        entity.uid, entity.policy.sync_interval_seconds, failures
                    ),
                    "keep_full_read": row["mode"] == Mode.DELTA
                    or (isinstance(error, RetriableError) and failures < FULL_READ_TRIES),
                    "lease": lease,
                    "uid": entity.uid,
                },
            )


def list_runs(
    database: Database,
    connector: str | None = None,
    slug: str | None = None,
    limit: int = 20,
) -> list[dict[str, Any]]:
    """The newest runs as rows of the table with the entity's path, newest first."""
    try:
        with database.connect() as connection:
            return list(
                connection.execute(
                    """
                    SELECT r.*, c.name || '/' || e.slug AS path
                    FROM sync_runs r JOIN entities e ON e.uid = r.entity_uid JOIN connectors c ON c.uid =
                        e.connector_uid
                    WHERE (%(connector)s::text IS NULL OR c.name = %(connector)s)
                      AND (%(slug)s::text IS NULL OR e.slug = %(slug)s)
                    ORDER BY r.started_at DESC, r.uid LIMIT %(limit)s
                    """,
                    {"connector": connector, "slug": slug, "limit": limit},
                )
            )
    except psycopg.Error as error:
        raise classify_database_error(error) from error


def note_details(
    connection: psycopg.Connection[Any],
    run_uid: UUID,
    details: dict[str, Any],
) -> None:
    """Keep what is known of a finished run only after its publish."""
    connection.execute(
        "UPDATE sync_runs SET details = details || %s::jsonb WHERE uid = %s",
        [Jsonb(details), run_uid],
    )


def get_run(database: Database, run_uid: UUID) -> dict[str, Any]:
    """One run with its entity's path.

    Raises:
        NotFoundError: no such run.
    """
    with database.connect() as connection:
        row = connection.execute(
            """
            SELECT r.*, c.name || '/' || e.slug AS path
            FROM sync_runs r JOIN entities e ON e.uid = r.entity_uid JOIN connectors c ON c.uid = e.connector_uid
            WHERE r.uid = %s
            """,
            [run_uid],
        ).fetchone()
    if row is None:
        raise NotFoundError(
            f"There is no run {run_uid}.", state="", next_command="sync-pipelines runs"
        )
    return row
