"""One run of one entity, from lock to ledger: the only way in for assets, command line and tests."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from typing import Any, Protocol
from uuid import UUID

import psycopg
import pyarrow as pa

from sync_pipelines.books.close import finish_without_load
from sync_pipelines.books.originals import Originals
from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database, classify_database_error
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.catalog.runs import (
    fail_run,
    get_run,
    hold_entity,
    last_details,
    note_details,
    start_run,
)
from sync_pipelines.catalog.slots import writer_place
from sync_pipelines.destinations.destination import Destination, StagedBatches
from sync_pipelines.destinations.load import Batch, Loading, load_batches
from sync_pipelines.destinations.registry import kind_of, open_destination
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.spools import RunFolder
from sync_pipelines.discovery.follow import follow_fields
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
from sync_pipelines.gate.judge import Tally
from sync_pipelines.gate.opened import OpenedGate, check_stored_masks, newly_masked
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.due import plan_next
from sync_pipelines.model.entity import COERCED_COLUMN, REVIEW_COLUMN, Connector, DeltaStrategy, Entity, EntityStatus
from sync_pipelines.model.publish import NextDue, Position, Publication, PublishRequest, ReadResult
from sync_pipelines.model.run import Ledger, Mode, RunResult, RunStatus, is_published
from sync_pipelines.model.verdict import RejectionLimits, Verdict
from sync_pipelines.runs.bounds import RunBounds
from sync_pipelines.runs.checkpoint import plan_checkpoint
from sync_pipelines.runs.extraction import Extraction
from sync_pipelines.runs.prepared_gate import prepare_gate
from sync_pipelines.settings import Settings, load_settings
from sync_pipelines.sources.named_metrics import named_metrics
from sync_pipelines.sources.registry import open_source, source_kind

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
SHOWN_FIELDS = 20
FOLLOWED_AT_MOST = 3  # reads of one run; what comes after is left to the discovery


class _FieldsFollowed(SyncError):
    """Ends an attempt: the catalog has columns now for fields that its records carry."""


class Heartbeat(Protocol):
    """Tells that a run is alive, and how many records it has; raises when it shall end."""

    def __call__(self, fetched: int | None = None) -> None:
        """Say so; without a number, as many records as last time."""


@dataclass
class _Run:
    """What the steps of one run share; `entity` is as its table has it, `declared` as the source sends it."""

    database: Database
    destination: Destination
    settings: Settings
    connector: Connector
    entity: Entity
    uid: UUID
    mode: Mode
    started_at: datetime
    started_monotonic: float
    accept_vanished: bool
    heartbeat: Heartbeat
    held: psycopg.Connection[Any]
    lease: UUID | None
    gate: OpenedGate | None = None
    remask: frozenset[str] = frozenset()
    released: dict[UUID, bytes] = field(default_factory=dict)
    table_changes: tuple[str, ...] = ()
    fills_empty: bool = False
    original_characters: int | None = None
    warnings: list[str] = field(default_factory=list)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    last_details: dict[str, Any] = field(default_factory=dict)
    asked_for: frozenset[str] = frozenset()
    followed: int = 0
    waits_for: str | None = None

    def __post_init__(self) -> None:
        self.declared = self.entity if self.gate is None else self.gate.entity
        if self.gate is not None:
            self.entity = self.gate.stored_entity

    @cached_property
    def bounds(self) -> RunBounds:
        return RunBounds.of(self.settings, self.connector)

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self.started_monotonic


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

    While it reads, `records_fetched` of the running row in `bridge.sync_runs` tells how far it is.

    Raises:
        SyncError: any of ours; the run is closed as failed, cancelled or incomplete, and nothing was published.
    """
    settings = settings or load_settings()
    connector = get_connector(database, connector_name)
    started_monotonic = time.monotonic()
    with hold_entity(database, get_entity(database, connector_name, slug), settings.entity_wait_seconds) as held:
        # Read again under the lock: the run before us may have moved the cursor.
        entity = _checked(connector, get_entity(database, connector_name, slug))
        destination = open_destination(database, connector, entity)
        interrupted_before = kind_of(entity.destination).interrupted
        try:
            gate = prepare_gate(database, settings, entity)
        except SyncError as error:
            # A failed run shows the error where all failures are shown, and delays the next start of the entity.
            mode = plan_mode(entity, full_refresh=full_refresh)
            start = entity.cursor if mode is Mode.DELTA else None
            uid, _ = start_run(held, entity, mode, triggered_by, start, interrupted=interrupted_before)
            refused = error.at(**entity.where).leaves(UNPUBLISHED)
            is_release = bool(released)
            fail_run(database, entity, uid, refused, lease=lease, tried_again=is_release, released=is_release)
            raise
        remask = newly_masked(entity, gate)
        mode = Mode.DELTA if released else plan_mode(entity, full_refresh=full_refresh or bool(remask))
        if released and gate is not None:
            gate = _gate_of_released(entity, gate)
        start = entity.cursor if mode is Mode.DELTA else None
        uid, started_at = start_run(held, entity, mode, triggered_by, start, interrupted=interrupted_before)
        heartbeat = _heartbeat(held, uid, interrupted)
        run = _Run(
            database,
            destination,
            settings,
            connector,
            entity,
            uid,
            mode,
            started_at,
            started_monotonic,
            accept_vanished,
            heartbeat,
            held,
            lease,
            gate,
            remask,
            released or {},
            last_details=last_details(held, entity),
        )
        try:
            return _run_with_fields(run)
        except BaseException as error:
            failure = _classified(error, entity)
            # A release reads nothing of the source, so its failure does not change when the entity is due.
            tried_again = (will_try_again and _may_pass(failure)) or bool(released)
            fail_run(database, entity, uid, failure, lease=lease, tried_again=tried_again, released=bool(released))
            if failure is error:
                raise
            raise failure from error


def _run_with_fields(run: _Run) -> RunResult:
    """Run, and again with the new columns each time that the source has a new field to follow."""
    while True:
        try:
            return _run(run)
        except _FieldsFollowed:
            run = _with_new_columns(run)


def _classified(error: BaseException, entity: Entity) -> BaseException:
    """The error as one of ours where it came from the connection that locks the entity, with the entity's names."""
    classified: BaseException = classify_database_error(error) if isinstance(error, psycopg.Error) else error
    if isinstance(classified, SyncError):
        classified.at(**entity.where).leaves(UNPUBLISHED)
    return classified


def _may_pass(error: BaseException) -> bool:
    """Whether a step repeats what failed so."""
    if isinstance(error, SyncError):
        return isinstance(error, RetriableError) and not isinstance(error, InterruptedRunError)
    return isinstance(error, Exception)


def _heartbeat(connection: psycopg.Connection[Any], uid: UUID, interrupted: Callable[[], bool]) -> Heartbeat:
    """Tell how far a run is, at most once a second; it also notices a lost lock connection early."""
    last, known = time.monotonic(), 0

    def beat(fetched: int | None = None) -> None:
        nonlocal last, known
        known = known if fetched is None else fetched
        if interrupted():
            raise InterruptedRunError(f"The run was cancelled after {known} records.")
        if time.monotonic() - last >= HEARTBEAT_SECONDS:
            last = time.monotonic()
            connection.execute(
                "UPDATE sync_runs SET records_fetched = %s WHERE uid = %s AND status = 'running'", [known, uid]
            )

    return beat


def plan_mode(entity: Entity, *, full_refresh: bool) -> Mode:
    """FULL when everything must be read: on demand, after a change of columns, without cursor, or by strategy."""
    incremental = entity.delta_strategy is DeltaStrategy.ROWVERSION and entity.cursor is not None
    return Mode.FULL if full_refresh or entity.full_refresh_pending or not incremental else Mode.DELTA


def _gate_of_released(entity: Entity, gate: OpenedGate) -> OpenedGate:
    """The gate for records that lie in quarantine, where they are masked already."""
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


def _with_new_columns(run: _Run) -> _Run:
    """The run anew, with the entity as the catalog has it now.

    It reads everything, so that every row gets its values.
    """
    entity = get_entity(run.database, run.connector.name, run.entity.slug)
    connector = get_connector(run.database, run.connector.name)
    gate = prepare_gate(run.database, run.settings, entity)
    run.held.execute("UPDATE sync_runs SET mode = 'full', rowversion_start = NULL WHERE uid = %s", [run.uid])
    return replace(
        run,
        destination=open_destination(run.database, connector, entity),
        connector=connector,
        entity=entity,
        gate=gate,
        mode=Mode.FULL,
        remask=newly_masked(entity, gate),
        table_changes=(),
        warnings=[],
        followed=run.followed + 1,
        waits_for=None,
    )


def _notice(run: _Run, names: set[str]) -> None:
    """Ask the source's description for fields that nobody declared; fields of the last run are left to the discovery.

    Raises:
        _FieldsFollowed: the catalog has columns for some of them now.
    """
    new = frozenset(names) - run.asked_for
    run.asked_for |= new
    if run.released or run.followed >= FOLLOWED_AT_MOST or new <= set(run.last_details.get("undeclared", ())):
        return
    run.waits_for = follow_fields(run.database, run.connector, run.entity, set(new), run.settings)
    if run.waits_for is None:
        raise _FieldsFollowed(f"{run.entity.path} has new columns.")


def _tell_undeclared(run: _Run, names: set[str]) -> None:
    kind = source_kind(run.connector)
    if not names or run.released or kind.words_for(run.connector, run.entity.slug).chooses_fields:
        return
    shown = ", ".join(sorted(names)[:SHOWN_FIELDS]) + (", …" if len(names) > SHOWN_FIELDS else "")
    run.warnings.append(
        f"fields that nobody declares are not stored: {shown}; {run.waits_for or kind.waits_for(run.connector)}"
    )


def _run_in_order(run: _Run, keyset: bool, *, may_be_unsorted: bool) -> RunResult | None:
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


def _run(run: _Run) -> RunResult:
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
            "the source does not sort its pages by rowversion, so they are read by number under the same filter:"
            " a row that an"
            " update moves across a page border meanwhile can be missed until the next full refresh"
        )
        return _attempt(run, keyset=keyset, in_order=False)
    except CursorProtocolError as error:
        if run.mode is Mode.DELTA or not keyset:
            error.next_command = error.next_command or f"sync-pipelines sync {run.entity.path} --full-refresh"
            raise
        # Everything is read anyway: go by page number, which needs no order.
        hint = f" Next: {error.next_command}" if error.next_command else ""
        run.warnings.append(f"read by page number, because rowversions cannot be followed: {error.what}{hint}")
        logger.warning("%s: %s", run.entity.path, run.warnings[-1])
        _prepare(run)
        return _attempt(run, keyset=False)


def _prepare(run: _Run) -> None:
    """Bring target and staging into shape before any data moves."""
    wanted = {REVIEW_COLUMN} if run.gate is not None and run.gate.gate.may_review else set()
    wanted |= {COERCED_COLUMN} if run.entity.coerced else set()
    masks = run.gate.masks if run.gate is not None else None
    prepared = run.destination.prepare(
        replace(run.entity, own_columns=frozenset(wanted)),
        rebuild=run.mode is Mode.FULL,
        remask=Remask(masks, run.remask, run.database.bridge_schema) if masks is not None and run.remask else None,
    )
    run.entity, run.remask = replace(run.entity, own_columns=prepared.own_columns), frozenset()
    run.fills_empty, run.original_characters = prepared.is_empty, prepared.original_characters
    run.table_changes = run.table_changes or prepared.changes


_REFUSALS = (SourceContractError, IncompleteAnswerError)


class _Attempt:
    """One read of the source and what is published of it.

    Attributes:
        read: what the read told; None until it is over.
    """

    def __init__(self, run: _Run, folder: RunFolder, originals: Originals, *, keyset: bool, in_order: bool) -> None:
        self.run, self.folder, self.originals = run, folder, originals
        self.keyset, self.in_order = keyset, in_order
        self.extraction = _open_extraction(run, originals)
        self.request = _request_of(run)
        self.read: ReadResult | None = None

    def batches(self) -> Iterator[Batch]:
        """The batches of the source, or of the records that are released."""
        run, full = self.run, self.run.mode is Mode.FULL
        if run.released:
            return self.extraction.released(list(run.released.values()))
        return self.extraction.batches(
            after=None if full else run.entity.cursor,
            keyset=self.keyset,
            full=full,
            closing=full and not run.fills_empty,
            in_order=self.in_order,
        )

    def finish_read(self) -> ReadResult:
        """What was read; the batches must be exhausted."""
        if self.read is None:
            self.read = _read_result(self)
        return self.read


def _attempt(run: _Run, *, keyset: bool, in_order: bool = True) -> RunResult:
    with RunFolder(run.settings.home) as folder, Originals(lambda: folder.path) as originals:
        attempt = _Attempt(run, folder, originals, keyset=keyset, in_order=in_order)
        try:
            publication = _publish(attempt)
        except SyncError as error:
            if isinstance(error, _REFUSALS):
                # Kept answers that were refused once would be refused by every run that goes on with them.
                attempt.extraction.source.finish()
            # COMMIT may have gone through although its answer was lost: the run's own row tells.
            recorded = _recorded_publication(run) if attempt.read is not None else None
            if recorded is None:
                raise
            publication = recorded
    if not run.released:
        attempt.extraction.source.finish()
    return _result(attempt, publication)


def _open_extraction(run: _Run, originals: Originals) -> Extraction:
    settings = run.settings
    masked = run.gate.masked if run.gate is not None else frozenset()
    if run.gate is not None:
        run.gate.tally = Tally()
    extraction = Extraction(
        run.declared,
        open_source(run.database, run.connector, run.declared, settings, masked=masked, keep_answers=True),
        max_pages=settings.max_pages,
        batch_rows=settings.batch_rows,
        batch_bytes=settings.batch_bytes,
        max_record_bytes=settings.max_record_bytes,
        own_columns=run.entity.own_columns,
        gate=run.gate,
        keep_original=originals.add,
        original_characters=run.original_characters,
        before_page=lambda fetched: _go_on(run, extraction, fetched),
        on_undeclared=partial(_notice, run),
    )
    return extraction


def _request_of(run: _Run) -> PublishRequest:
    """What the run asks its destination to publish."""
    entity, settings = run.entity, run.settings
    masks = run.gate.fingerprints if run.gate is not None else {}
    return PublishRequest(
        entity=entity,
        run_uid=run.uid,
        mode=run.mode,
        bridge_schema=run.database.bridge_schema,
        declared_columns=run.declared.columns,
        masks=entity.stored_masks if run.released else masks,
        released=tuple(run.released),
        accept_vanished=run.accept_vanished,
        lease=run.lease,
        limits=RejectionLimits(settings.alert_rejection_rate, settings.alert_rejection_min_records),
    )


def _publish(attempt: _Attempt) -> Publication:
    """Read the source to its end and publish what it sent."""
    batches = attempt.batches()
    # Two, so that a read of a single batch is known to be over.
    head = list(itertools.islice(batches, 2))
    if len(head) < 2 and not attempt.run.released:
        publication = _without_load(attempt, attempt.finish_read(), head)
        if publication is not None:
            return publication
    return _load(attempt, itertools.chain(head, batches))


def _go_on(run: _Run, extraction: Extraction, fetched: int) -> None:
    """Tell how far the run is; end it where somebody cancelled it, or where it would take more than it may."""
    run.heartbeat(fetched)
    read_bytes = extraction.traffic.bytes_decoded
    run.bounds.check(rows=fetched, read_bytes=read_bytes, started_monotonic=run.started_monotonic)


def _wait_on(run: _Run) -> None:
    """As `_go_on`, while the destination keeps the run waiting."""
    run.heartbeat()
    run.bounds.check(rows=0, read_bytes=0, started_monotonic=run.started_monotonic)


def _read_result(attempt: _Attempt) -> ReadResult:
    """What the finished read tells, with what a person should know of it in the run's warnings."""
    run, extraction = attempt.run, attempt.extraction
    if not run.released:
        run.warnings += extraction.source.warnings()
        _tell_undeclared(run, extraction.undeclared)
    walked = extraction.is_walked
    position, has_moved = _position_after(attempt)
    if attempt.keyset and not run.released:
        # By page number a row may have hidden between two pages, also where only some records were read so.
        walked = walked or extraction.reading.by_number
    without_rowversion = _without_rowversion(attempt)
    seconds, reason = plan_next(
        run.entity.uid,
        run.entity.sync_interval_seconds,
        run.entity.lookback_seconds,
        probed=run.connector.probe_changes and position.seen_is_sure and not walked,
        moved=has_moved,
    )
    return ReadResult(
        fetched=extraction.fetched,
        reread=extraction.reread,
        rejected=extraction.rejected,
        position=position,
        keyset=attempt.keyset,
        in_order=attempt.in_order,
        moved=extraction.moved,
        walked=walked,
        absent=extraction.absent,
        next_due=NextDue(seconds, reason),
        details=_details_of(attempt, without_rowversion),
    )


def _position_after(attempt: _Attempt) -> tuple[Position, bool]:
    """Where the next read starts, and whether the source has moved since the last one."""
    run, reading = attempt.run, attempt.extraction.reading
    entity = run.entity
    codec = reading.codec or (Codec(entity.cursor_codec) if entity.cursor_codec else None)
    if run.released:
        return Position(entity.cursor, codec, entity.cursor_marks), False
    if not attempt.keyset:
        return Position(None, codec), False
    checkpoint = plan_checkpoint(entity, run.mode, reading, run.started_at, run.elapsed_seconds)
    run.warnings += checkpoint.warnings
    position = Position(checkpoint.cursor, codec, checkpoint.marks, checkpoint.seen, checkpoint.seen_is_sure)
    return position, checkpoint.seen is not None and checkpoint.seen != entity.seen_rowversion


def _details_of(attempt: _Attempt, without_rowversion: int) -> dict[str, Any]:
    """What `bridge.sync_runs.details` keeps of the read."""
    run, extraction = attempt.run, attempt.extraction
    traffic = extraction.traffic
    details: dict[str, Any] = {
        "pages": extraction.pages,
        "reread": extraction.reread,
        "rowversion_last": extraction.reading.last,
        "requests": traffic.requests,
        "retries": traffic.retries,
        "bytes_wire": traffic.bytes_wire,
        "api_seconds_p95": round(traffic.percentile_seconds(0.95), 4),
        "api_seconds_max": round(traffic.percentile_seconds(1.0), 4),
        "undeclared": sorted(extraction.undeclared),
        "without_rowversion": without_rowversion,
        "table_changes": list(run.table_changes),
        "quarantine_sample": extraction.sample,
        "page_size": extraction.source.page_size,
        "pages_moved": extraction.moved,
        "unsorted": bool(run.last_details.get("unsorted")) if run.released else not attempt.in_order,
        "warnings": [*run.warnings, *extraction.reading.warnings],
    }
    if extraction.coerced:
        details["coerced"] = dict(extraction.coerced)
    if run.gate is not None:
        details["gate"] = run.gate.tally.as_dict()
    return details


def _without_rowversion(attempt: _Attempt) -> int:
    """Records of the table that no delta can see, as the last full read counted them; told in the run's warnings."""
    run, counted = attempt.run, attempt.extraction.without_rowversion
    known = int(run.last_details.get("without_rowversion", 0))
    if not attempt.keyset or run.released:
        return known
    if run.mode is Mode.FULL:
        count, unseen, seen = counted, counted, "only a full read sees them"
    else:
        count, unseen, seen = known, known - counted, "this delta could not see whether they changed"
    if unseen > 0:
        run.warnings.append(
            f"{count} records have no {_cursor_name(run)}, so no delta finds them again: {seen} (sync-pipelines sync"
            f" {run.entity.path} --full-refresh)"
        )
    return count


def _cursor_name(run: _Run) -> str:
    return source_kind(run.connector).words_for(run.connector, run.entity.slug).cursor_name


def _without_load(attempt: _Attempt, read: ReadResult, head: list[Batch]) -> Publication | None:
    """Finish a run whose records need not be staged; None when it must load."""
    run, request = attempt.run, attempt.request
    if run.mode is Mode.FULL:
        if head:
            return None
        with _writing(run), Spool(attempt.folder) as nothing:
            # Rows may have vanished all the same.
            return run.destination.publish(request, read, StagedBatches(nothing, attempt.originals))
    ledger = _unchanged_ledger(attempt, read, *head[0]) if head else Ledger()
    if ledger is None:
        return None
    with run.database.connect() as connection:
        return finish_without_load(connection.cursor(), request, read, ledger)


def _unchanged_ledger(attempt: _Attempt, read: ReadResult, table: str, batch: pa.Table) -> Ledger | None:
    """The ledger of a small delta of one batch whose every record is in the table already."""
    run = attempt.run
    is_small = read.fetched <= run.settings.max_page_size
    is_whole = table == run.entity.records_table and read.fetched == read.reread + len(batch)
    return run.destination.all_unchanged(attempt.request, read, batch) if is_small and is_whole else None


def _load(attempt: _Attempt, batches: Iterator[Batch]) -> Publication:
    run = attempt.run
    loading = Loading(
        run.destination,
        attempt.request,
        attempt.folder,
        attempt.originals,
        fills_empty=run.fills_empty,
        writing=lambda: _writing(run),
        while_waiting=lambda: _wait_on(run),
        stage_seconds=run.stage_seconds,
    )
    return load_batches(loading, batches, attempt.finish_read)


def _writing(run: _Run) -> AbstractContextManager[None]:
    """A place among the writers to the destination.

    While it is waited for, the run can be cancelled and its limits hold.
    """
    return writer_place(
        run.held, run.database.bridge_schema, run.settings.max_destination_writers, lambda: _wait_on(run)
    )


def _recorded_publication(run: _Run) -> Publication | None:
    """What the run's own row says of it; None when it was not published."""
    row = get_run(run.database, run.uid)
    if not is_published(row):
        return None
    details, trouble = row["details"], row["error_details"] or {}
    verdict = Verdict(RunStatus(row["status"]), row["error_message"], trouble.get("next_command"))
    return Publication(
        Ledger.of_row(row),
        details["row_count"],
        details["missing"],
        details["held_deletions"],
        verdict,
        details=details,
    )


def _duplicate_keys(run: _Run) -> int:
    """Keys that stand twice; a run that has published is not failed because nobody could look."""
    try:
        return run.destination.duplicate_keys(run.entity)
    except SyncError as error:
        run.warnings.append(f"whether a key stands twice in {run.entity.table} could not be looked up: {error.what}")
        return 0


def _result(attempt: _Attempt, publication: Publication) -> RunResult:
    run, extraction, read = attempt.run, attempt.extraction, attempt.finish_read()
    entity, traffic = run.entity, extraction.traffic
    duplicates = _duplicate_keys(run)
    metrics = named_metrics(
        source_kind(run.connector).words_for(run.connector, entity.slug).metrics,
        publication.ledger,
        traffic,
        extraction.source.page_size,
        run.elapsed_seconds,
    )
    late = {**({"metrics": metrics} if metrics else {}), **({"duplicate_keys": duplicates} if duplicates else {})}
    if late:
        try:
            with run.database.connect() as connection:
                note_details(connection, run.uid, late)
        except SyncError as error:
            logger.warning("%s: what was found after the publish is not in the run's row: %s", entity.path, error.what)
    logger.info("%s: %s", entity.path, publication.ledger.as_dict())
    return RunResult(
        uid=run.uid,
        connector=entity.connector,
        slug=entity.slug,
        mode=run.mode,
        ledger=publication.ledger,
        started_at=run.started_at,
        duration_seconds=run.elapsed_seconds,
        table=entity.table,
        row_count=publication.row_count,
        rowversion_start=entity.cursor if run.mode is Mode.DELTA else None,
        rowversion_end=read.position.cursor,
        pages=extraction.pages,
        requests=traffic.requests,
        bytes_wire=traffic.bytes_wire,
        api_seconds_p95=traffic.percentile_seconds(0.95),
        api_seconds_max=traffic.percentile_seconds(1.0),
        stage_seconds=dict(run.stage_seconds),
        undeclared=tuple(sorted(extraction.undeclared)),
        table_changes=run.table_changes,
        quarantine_sample=tuple(extraction.sample),
        duplicate_keys=duplicates,
        columns=entity.columns,
        gate=run.gate.tally.as_dict() if run.gate is not None else {},
        warnings=(*run.warnings, *extraction.reading.warnings, *publication.warnings),
        storage=dict(publication.details.get("trino", {})),
        metrics=metrics,
        coerced=dict(extraction.coerced),
        status=publication.verdict.status,
        status_reason=publication.verdict.reason,
        next_command=publication.verdict.next_command,
        held_deletions=publication.held,
    )
