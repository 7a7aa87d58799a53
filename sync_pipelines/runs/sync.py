"""One run of one entity, from lock to ledger: the only way in for assets, command line and tests."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import UUID

import psycopg

from sync_pipelines.books.originals import Originals
from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database, classify_database_error
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.catalog.runs import (
    fail_run,
    hold_entity,
    last_details,
    start_run,
)
from sync_pipelines.destinations.registry import kind_of, open_destination
from sync_pipelines.destinations.spools import RunFolder
from sync_pipelines.errors import (
    UNPUBLISHED,
    ConfigurationError,
    CursorProtocolError,
    IncompleteAnswerError,
    InterruptedRunError,
    RetriableError,
    SchemaDriftError,
    SourceContractError,
    SyncError,
    UnsortedPageError,
)
from sync_pipelines.gate.opened import OpenedGate, check_stored_masks, newly_masked
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import (
    COERCED_COLUMN,
    REVIEW_COLUMN,
    Connector,
    DeltaStrategy,
    Entity,
    EntityStatus,
)
from sync_pipelines.model.run import Mode, RunResult
from sync_pipelines.runs.attempt import Attempt, publish_read, recorded_publication
from sync_pipelines.runs.new_fields import FieldsFollowedError, with_new_columns
from sync_pipelines.runs.prepared_gate import prepare_gate
from sync_pipelines.runs.result import result_of
from sync_pipelines.runs.run import Run, open_heartbeat
from sync_pipelines.settings import Settings, load_settings
from sync_pipelines.sources.registry import source_kind

logger = logging.getLogger(__name__)

_REFUSALS = (SourceContractError, IncompleteAnswerError)


@contextmanager
def _leaving_all_as_it_was() -> Iterator[None]:
    """Errors say that nothing was published, also those before there is a run."""
    try:
        yield
    except SyncError as error:
        error.leaves(UNPUBLISHED)
        raise


@_leaving_all_as_it_was()
def sync_entity(
    database: Database,
    connector_name: str,
    slug: str,
    *,
    full_refresh: bool = False,
    accept_vanished: bool = False,
    triggered_by: str = "command line",
    released: dict[UUID, bytes] | None = None,
    settings: Settings | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    lease: UUID | None = None,
    will_try_again: bool = False,
) -> RunResult:
    """Sync one entity and return its balanced ledger.

    Args:
        database: where catalog and target are.
        connector_name: the connector.
        slug: the entity.
        full_refresh: read everything again, compare, and soft-delete what vanished.
        accept_vanished: delete vanished rows even beyond the configured share; without it they stay, and the run is
            INCOMPLETE.
        triggered_by: who asked, for the run's record.
        released: records out of quarantine, by their uid, that go the whole way instead of what the source has; the
            cursor stays.
        settings: the process settings when None.
        interrupted: asked before every page; True ends the run as cancelled, with nothing published.
        lease: by which a sensor took the entity for this run; it ends with it.
        will_try_again: the caller repeats what may pass, a `RetriableError` or an error that is none of ours, so that
            such a failure is not counted yet.

    While it reads, `records_fetched` of the running row in `bridge.sync_runs` grows with each page.

    Raises:
        SyncError: any of ours; the run is closed as failed, cancelled or incomplete, and nothing was published.
    """
    settings = settings or load_settings()
    connector = get_connector(database, connector_name)
    started_monotonic = time.monotonic()
    with hold_entity(
        database, get_entity(database, connector_name, slug), settings.runs.entity_wait_seconds
    ) as held:
        # Read again under the lock: the run before us may have moved the cursor.
        entity = _checked(connector, get_entity(database, connector_name, slug))
        destination = open_destination(database, connector, entity)
        interrupted_before = kind_of(entity.destination).interrupted
        try:
            gate = prepare_gate(database, settings, entity)
        except SyncError as error:
            # A failed run shows the error where all failures are shown, and delays the next start of the entity.
            mode = plan_mode(entity, full_refresh=full_refresh)
            start = entity.position.cursor if mode is Mode.DELTA else None
            uid, _ = start_run(
                held, entity, mode, triggered_by, start, interrupted=interrupted_before
            )
            refused = error.at(**entity.where).leaves(UNPUBLISHED)
            is_release = bool(released)
            fail_run(
                database,
                entity,
                uid,
                refused,
                lease=lease,
                tried_again=is_release,
                released=is_release,
            )
            raise
        remask = newly_masked(entity, gate)
        mode = (
            Mode.DELTA if released else plan_mode(entity, full_refresh=full_refresh or bool(remask))
        )
        if released and gate is not None:
            gate = _gate_of_released(entity, gate)
        start = entity.position.cursor if mode is Mode.DELTA else None
        uid, started_at = start_run(
            held, entity, mode, triggered_by, start, interrupted=interrupted_before
        )
        heartbeat = open_heartbeat(held, uid, interrupted)
        run = Run(
            database=database,
            destination=destination,
            settings=settings,
            connector=connector,
            entity=entity,
            uid=uid,
            mode=mode,
            started_at=started_at,
            started_monotonic=started_monotonic,
            accept_vanished=accept_vanished,
            heartbeat=heartbeat,
            held=held,
            lease=lease,
            gate=gate,
            remask=remask,
            released=released or {},
            last_details=last_details(held, entity),
        )
        try:
            return _run_with_fields(run)
        except BaseException as error:
            failure = _classified(error, entity)
            # A release reads nothing of the source, so its failure does not change when the entity is due.
            tried_again = (will_try_again and _may_pass(failure)) or bool(released)
            fail_run(
                database,
                entity,
                uid,
                failure,
                lease=lease,
                tried_again=tried_again,
                released=bool(released),
            )
            if failure is error:
                raise
            raise failure from error


def _run_with_fields(run: Run) -> RunResult:
    """Run, and again with the new columns each time that the source has a new field to follow."""
    while True:
        try:
            return _run(run)
        except FieldsFollowedError:
            run = with_new_columns(run)


def _classified(error: BaseException, entity: Entity) -> BaseException:
    """The error as one of ours where it came from the connection that locks the entity, with the entity's names."""
    classified: BaseException = (
        classify_database_error(error) if isinstance(error, psycopg.Error) else error
    )
    if isinstance(classified, SyncError):
        classified.at(**entity.where).leaves(UNPUBLISHED)
    return classified


def _may_pass(error: BaseException) -> bool:
    """Whether a step repeats what failed so."""
    if isinstance(error, SyncError):
        return isinstance(error, RetriableError) and not isinstance(error, InterruptedRunError)
    return isinstance(error, Exception)


def plan_mode(entity: Entity, *, full_refresh: bool) -> Mode:
    """FULL when everything must be read: on demand, after a change of columns, without cursor, or by strategy."""
    incremental = (
        entity.delta_strategy is DeltaStrategy.ROWVERSION and entity.position.cursor is not None
    )
    return (
        Mode.FULL
        if full_refresh or entity.position.full_refresh_pending or not incremental
        else Mode.DELTA
    )


def _gate_of_released(entity: Entity, gate: OpenedGate) -> OpenedGate:
    """The gate for records that are in quarantine, where they are masked already."""
    check_stored_masks(entity, gate)
    return replace(gate.for_masked(), waived=gate.waived)


def _checked(connector: Connector, entity: Entity) -> Entity:
    if not connector.is_active:
        raise ConfigurationError(
            f"The connector {connector.name} is switched off.",
            where=dict(entity.where),
            next_command=f"sync-pipelines connector add {connector.name} … (switches it on again)",
        )
    if entity.status is EntityStatus.ACTION_REQUIRED:
        raise SchemaDriftError(
            entity.status_reason or "The entity needs a decision.",
            where=dict(entity.where),
            next_command=f"sync-pipelines discover {entity.connector} --accept {entity.slug}",
        )
    if entity.status is EntityStatus.VANISHED:
        raise ConfigurationError(
            f"The source does not list {entity.slug} any more; its table {entity.table} is kept as it was.",
            where=dict(entity.where),
            next_command=f"sync-pipelines discover {entity.connector}",
        )
    return entity


def _run_in_order(run: Run, keyset: bool, *, may_be_unsorted: bool) -> RunResult | None:
    """Read in the order of rowversions, twice at most; None where the source does not sort by them."""
    for _ in range(2):
        try:
            return _attempt(run, keyset=keyset)
        except UnsortedPageError as error:
            if not may_be_unsorted:
                raise
            logger.warning("%s: %s", run.entity.path, error.what)
            _prepare(run)
            if error.is_certain:
                break
    return None


def _run(run: Run) -> RunResult:
    keyset = run.entity.delta_strategy is DeltaStrategy.ROWVERSION
    # Of a declared source its file says whether it is sorted.
    may_be_unsorted = keyset and not source_kind(run.connector).is_declared and not run.released
    in_order = not (may_be_unsorted and run.mode is Mode.DELTA and run.last_details.get("unsorted"))
    _prepare(run)
    try:
        result = _run_in_order(run, keyset, may_be_unsorted=may_be_unsorted) if in_order else None
        if result is not None:
            return result
        run.warnings.append(
            "the source does not sort its pages by rowversion, so they are read by number under the same filter: a"
            " row that an update moves across a page border meanwhile can be missed until the next full refresh"
        )
        return _attempt(run, keyset=keyset, in_order=False)
    except CursorProtocolError as error:
        if run.mode is Mode.DELTA or not keyset:
            error.next_command = (
                error.next_command or f"sync-pipelines sync {run.entity.path} --full-refresh"
            )
            raise
        # Everything is read anyway: go by page number, which needs no order.
        hint = f" Next: {error.next_command}" if error.next_command else ""
        run.warnings.append(
            f"read by page number, because rowversions cannot be followed: {error.what}{hint}"
        )
        logger.warning("%s: %s", run.entity.path, run.warnings[-1])
        _prepare(run)
        return _attempt(run, keyset=False)


def _attempt(run: Run, *, keyset: bool, in_order: bool = True) -> RunResult:
    with RunFolder(run.settings.home) as folder, Originals(lambda: folder.path) as originals:
        attempt = Attempt(run, folder, originals, keyset=keyset, in_order=in_order)
        try:
            publication = publish_read(attempt)
        except SyncError as error:
            if isinstance(error, _REFUSALS):
                # Kept answers that were refused once would be refused by every run that goes on with them.
                attempt.extraction.source.finish()
            # COMMIT may have gone through although its answer was lost: the run's own row is looked up.
            recorded = recorded_publication(run) if attempt.read is not None else None
            if recorded is None:
                raise
            publication = recorded
    if not run.released:
        attempt.extraction.source.finish()
    return result_of(attempt, publication)


def _prepare(run: Run) -> None:
    """Bring target and staging into shape before any data moves."""
    wanted = {REVIEW_COLUMN} if run.gate is not None and run.gate.gate.may_review else set()
    wanted |= {COERCED_COLUMN} if run.entity.coerced else set()
    masks = run.gate.masks if run.gate is not None else None
    prepared = run.destination.prepare(
        run.entity.with_own_columns(wanted),
        rebuild=run.mode is Mode.FULL,
        remask=Remask(masks, run.remask, run.database.bridge_schema)
        if masks is not None and run.remask
        else None,
    )
    run.entity, run.remask = run.entity.with_own_columns(prepared.own_columns), frozenset()
    run.fills_empty, run.original_characters = prepared.is_empty, prepared.original_characters
    run.table_changes = run.table_changes or prepared.changes
