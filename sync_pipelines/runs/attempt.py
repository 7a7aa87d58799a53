"""One attempt of a run: read the source to its end, and publish what it sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pyarrow as pa

from sync_pipelines.books.close import finish_without_load
from sync_pipelines.books.originals import Originals
from sync_pipelines.catalog.runs import get_run
from sync_pipelines.catalog.slots import writer_place
from sync_pipelines.destinations.destination import StagedBatches
from sync_pipelines.destinations.load import Loading, load_batches, load_failure
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.spools import RunFolder
from sync_pipelines.gate.tally import Tally
from sync_pipelines.model.due import plan_next
from sync_pipelines.model.publish import (
    NextDue,
    Publication,
    PublishRequest,
    ReadPosition,
    ReadResult,
)
from sync_pipelines.model.run import Ledger, Mode, RunStatus, is_published
from sync_pipelines.model.staged import Batch
from sync_pipelines.model.verdict import RejectionLimits, Verdict
from sync_pipelines.runs.checkpoint import plan_checkpoint
from sync_pipelines.runs.extraction import Extraction
from sync_pipelines.runs.new_fields import notice_fields, warn_of_undeclared
from sync_pipelines.runs.run import Run
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.registry import open_source, source_kind


class Attempt:
    """One read of the source and what is published of it.

    Attributes:
        read: the result of the read; None until it is over.
    """

    def __init__(
        self, run: Run, folder: RunFolder, originals: Originals, *, keyset: bool, in_order: bool
    ) -> None:
        self.run = run
        self.folder = folder
        self.originals = originals
        self.keyset = keyset
        self.in_order = in_order
        self.extraction = _open_extraction(run, originals)
        self.request = _request_of(run)
        self.read: ReadResult | None = None

    def batches(self) -> Iterator[Batch]:
        """The batches of the source, or of the records that are released."""
        run = self.run
        full = run.mode is Mode.FULL
        if run.released:
            return self.extraction.released(list(run.released.values()))
        return self.extraction.batches(
            after=None if full else run.entity.position.cursor,
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


def _open_extraction(run: Run, originals: Originals) -> Extraction:
    settings = run.settings
    masked = run.gate.masked if run.gate is not None else frozenset()
    if run.gate is not None:
        run.gate.tally = Tally()
    context = ReadContext(
        run.database, run.connector, run.declared, settings, masked, keep_answers=True
    )
    extraction = Extraction(
        run.declared,
        open_source(context),
        max_pages=settings.sources.max_pages,
        batch_rows=settings.runs.batch_rows,
        batch_bytes=settings.runs.batch_bytes,
        max_record_bytes=settings.runs.max_record_bytes,
        own_columns=run.entity.position.own_columns,
        gate=run.gate,
        keep_originals=originals.add,
        original_characters=run.original_characters,
        before_page=lambda fetched: _go_on(run, extraction, fetched),
        on_undeclared=partial(notice_fields, run),
    )
    return extraction


def _request_of(run: Run) -> PublishRequest:
    """What the run asks its destination to publish."""
    entity = run.entity
    alerts = run.settings.alerts
    masks = run.gate.fingerprints if run.gate is not None else {}
    return PublishRequest(
        entity=entity,
        run_uid=run.uid,
        mode=run.mode,
        bridge_schema=run.database.bridge_schema,
        declared_columns=run.declared.columns,
        masks=entity.position.stored_masks if run.released else masks,
        released=tuple(run.released),
        accept_vanished=run.accept_vanished,
        lease=run.lease,
        limits=RejectionLimits(alerts.alert_rejection_rate, alerts.alert_rejection_min_records),
    )


def publish_read(attempt: Attempt) -> Publication:
    """Read the source to its end and publish what it sent."""
    batches = attempt.batches()
    try:
        # Two, so that a read of a single batch is known to be over.
        head = list(itertools.islice(batches, 2))
    except OSError as error:
        # While it is read, only the disk is our own trouble; what a source does raises its own errors.
        raise load_failure(error, attempt.run.entity) from error
    if len(head) < 2 and not attempt.run.released:
        publication = _without_load(attempt, attempt.finish_read(), head)
        if publication is not None:
            return publication
    return _load(attempt, itertools.chain(head, batches))


def _go_on(run: Run, extraction: Extraction, fetched: int) -> None:
    """Record how far the run is; end it where somebody cancelled it, or where it would take more than it may."""
    run.heartbeat(fetched)
    read_bytes = extraction.traffic.bytes_decoded
    run.bounds.check(rows=fetched, read_bytes=read_bytes, started_monotonic=run.started_monotonic)


def _wait_on(run: Run) -> None:
    """As `_go_on`, while the destination keeps the run waiting."""
    run.heartbeat()
    run.bounds.check(rows=0, read_bytes=0, started_monotonic=run.started_monotonic)


def _read_result(attempt: Attempt) -> ReadResult:
    """The result of the finished read; what a person needs to know of it goes to the run's warnings."""
    run, extraction = attempt.run, attempt.extraction
    if not run.released:
        run.warnings += extraction.source.warnings()
        warn_of_undeclared(run, extraction.undeclared)
    walked = extraction.is_walked
    position, has_moved = _position_after(attempt)
    if attempt.keyset and not run.released:
        # By page number a row may have hidden between two pages, also where only some records were read so.
        walked = walked or extraction.reading.by_number
    without_rowversion = _without_rowversion(attempt)
    seconds, reason = plan_next(
        run.entity.uid,
        run.entity.policy.sync_interval_seconds,
        run.entity.policy.lookback_seconds,
        probed=run.connector.probe_changes and position.seen_is_sure and not walked,
        moved=has_moved,
    )
    return ReadResult(
        fetched=extraction.fetched,
        reread=extraction.reread,
        rejected=extraction.judge.rejected,
        position=position,
        keyset=attempt.keyset,
        in_order=attempt.in_order,
        moved=extraction.moved,
        walked=walked,
        absent=extraction.absent,
        next_due=NextDue(seconds, reason),
        details=_details_of(attempt, without_rowversion),
    )


def _position_after(attempt: Attempt) -> tuple[ReadPosition, bool]:
    """Where the next read starts, and whether the source has moved since the last one."""
    run = attempt.run
    reading = attempt.extraction.reading
    entity = run.entity
    before = entity.position
    codec = reading.codec or before.cursor_codec
    if run.released:
        return ReadPosition(before.cursor, codec, before.cursor_marks), False
    if not attempt.keyset:
        return ReadPosition(None, codec), False
    checkpoint = plan_checkpoint(entity, run.mode, reading, run.started_at, run.elapsed_seconds)
    run.warnings += checkpoint.warnings
    position = ReadPosition(
        checkpoint.cursor, codec, checkpoint.marks, checkpoint.seen, checkpoint.seen_is_sure
    )
    has_moved = checkpoint.seen is not None and checkpoint.seen != before.seen_rowversion
    return position, has_moved


def _details_of(attempt: Attempt, without_rowversion: int) -> dict[str, Any]:
    """What `bridge.sync_runs.details` keeps of the read."""
    run = attempt.run
    extraction = attempt.extraction
    traffic = extraction.traffic
    unsorted = bool(run.last_details.get("unsorted")) if run.released else not attempt.in_order
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
        "quarantine_sample": extraction.judge.sample,
        "page_size": extraction.source.page_size,
        "pages_moved": extraction.moved,
        "unsorted": unsorted,
        "warnings": [*run.warnings, *extraction.reading.warnings],
    }
    if extraction.judge.coerced:
        details["coerced"] = dict(extraction.judge.coerced)
    if run.gate is not None:
        details["gate"] = run.gate.tally.as_dict()
    return details


def _without_rowversion(attempt: Attempt) -> int:
    """Records of the table that no delta can see, as the last full read counted them; named in the run's warnings."""
    run = attempt.run
    counted = attempt.extraction.without_rowversion
    known = int(run.last_details.get("without_rowversion", 0))
    if not attempt.keyset or run.released:
        return known
    if run.mode is Mode.FULL:
        count = counted
        unseen = counted
        consequence = "only a full read sees them"
    else:
        count = known
        unseen = known - counted
        consequence = "this delta could not see whether they changed"
    if unseen > 0:
        run.warnings.append(
            f"{count} records have no {_cursor_name(run)}, so no delta finds them again: {consequence}"
            f" (sync-pipelines sync {run.entity.path} --full-refresh)"
        )
    return count


def _cursor_name(run: Run) -> str:
    kind = source_kind(run.connector)
    return kind.words_for(run.connector, run.entity.slug).cursor_name


def _without_load(attempt: Attempt, read: ReadResult, head: list[Batch]) -> Publication | None:
    """Finish a run whose records need not be staged; None when it must load."""
    run = attempt.run
    request = attempt.request
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


def _unchanged_ledger(
    attempt: Attempt, read: ReadResult, table: str, batch: pa.Table
) -> Ledger | None:
    """The ledger of a small delta of one batch whose every record is in the table already."""
    run = attempt.run
    is_small = read.fetched <= run.settings.sources.max_page_size
    is_whole = table == run.entity.records_table and read.fetched == read.reread + len(batch)
    if not is_small or not is_whole:
        return None
    return run.destination.all_unchanged(attempt.request, read, batch)


def _load(attempt: Attempt, batches: Iterator[Batch]) -> Publication:
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


def _writing(run: Run) -> AbstractContextManager[None]:
    """A place among the writers to the destination.

    While it is waited for, the run can be cancelled and its limits hold.
    """
    return writer_place(
        run.held,
        run.database.bridge_schema,
        run.settings.runs.max_destination_writers,
        lambda: _wait_on(run),
    )


def recorded_publication(run: Run) -> Publication | None:
    """What the run's own row says of it; None when it was not published."""
    row = get_run(run.database, run.uid)
    if not is_published(row):
        return None
    details = row["details"]
    trouble = row["error_details"] or {}
    verdict = Verdict(RunStatus(row["status"]), row["error_message"], trouble.get("next_command"))
    return Publication(
        Ledger.of_row(row),
        details["row_count"],
        details["missing"],
        details["held_deletions"],
        verdict,
        details=details,
    )
