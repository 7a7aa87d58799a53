"""The result of a run that has published."""

from __future__ import annotations

import logging

from sync_pipelines.catalog.runs import note_details
from sync_pipelines.errors import SyncError
from sync_pipelines.model.publish import Publication
from sync_pipelines.model.run import Mode, RunResult
from sync_pipelines.runs.attempt import Attempt
from sync_pipelines.runs.run import Run
from sync_pipelines.sources.named_metrics import named_metrics
from sync_pipelines.sources.registry import source_kind

logger = logging.getLogger(__name__)


def result_of(attempt: Attempt, publication: Publication) -> RunResult:
    """The run as its caller gets it; figures that need the published table are looked up now."""
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
    late = {
        **({"metrics": metrics} if metrics else {}),
        **({"duplicate_keys": duplicates} if duplicates else {}),
    }
    if late:
        try:
            with run.database.connect() as connection:
                note_details(connection, run.uid, late)
        except SyncError as error:
            logger.warning(
                "%s: what was found after the publish is not in the run's row: %s",
                entity.path,
                error.what,
            )
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
        rowversion_start=entity.position.cursor if run.mode is Mode.DELTA else None,
        rowversion_end=read.position.cursor,
        pages=extraction.pages,
        requests=traffic.requests,
        bytes_wire=traffic.bytes_wire,
        api_seconds_p95=traffic.percentile_seconds(0.95),
        api_seconds_max=traffic.percentile_seconds(1.0),
        stage_seconds=dict(run.stage_seconds),
        undeclared=tuple(sorted(extraction.undeclared)),
        table_changes=run.table_changes,
        quarantine_sample=tuple(extraction.judge.sample),
        duplicate_keys=duplicates,
        columns=entity.columns,
        gate=run.gate.tally.as_dict() if run.gate is not None else {},
        warnings=(*run.warnings, *extraction.reading.warnings, *publication.warnings),
        storage={**publication.details.get("trino", {}), **publication.details.get("dlt", {})},
        metrics=metrics,
        coerced=dict(extraction.judge.coerced),
        status=publication.verdict.status,
        status_reason=publication.verdict.reason,
        next_command=publication.verdict.next_command,
        held_deletions=publication.held,
    )


def _duplicate_keys(run: Run) -> int:
    """Keys that are there twice; a run that has published is not failed because nobody could look."""
    try:
        return run.destination.duplicate_keys(run.entity)
    except SyncError as error:
        run.warnings.append(
            f"whether a key is there twice in {run.entity.table} could not be looked up: {error.what}"
        )
        return 0
