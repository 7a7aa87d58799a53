"""Retention of what Dagster itself keeps for ever: finished runs with their events, logs and snapshots."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES, RunRecord
from dagster._core.storage.event_log.base import AssetEntry
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.runs.schema import SnapshotsTable

from sync_pipelines.catalog.database import require_catalog
from sync_pipelines.catalog.retention import purge_sync_runs
from sync_pipelines.dotenv_file import dotenv_file
from sync_pipelines.errors import SyncError
from sync_pipelines.orchestrate.failures import plain_failure
from sync_pipelines.orchestrate.reload import CONNECTORS, DOTENV, FINGERPRINT, MARKED_JOB, MODELS
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.sources.rest.kept_answers import sweep_answers

PAGE_RUNS = 200
_ASSETS_AT_ONCE = 500


@dataclass
class Purged:
    """What one purge removed."""

    dagster_runs: int = 0
    dagster_runs_kept_for_their_asset: int = 0
    snapshots: int = 0
    sync_runs: int = 0
    kept_answers: int = 0
    seconds: float = 0.0
    _snapshot_ids: set[str] = field(default_factory=set, repr=False)

    def as_dict(self) -> dict[str, float]:
        """The counts."""
        counts = asdict(self)
        del counts["_snapshot_ids"]
        return counts


def purge_dagster_runs(instance: dg.DagsterInstance, after_days: int) -> Purged:
    """Delete runs that ended more than `after_days` ago, each run in separate transactions.

    The newest run of each asset stays, so that the UI keeps its last materialization and its checks.
    """
    purged = Purged()
    before = datetime.now(UTC) - timedelta(days=after_days)
    ended = dg.RunsFilter(statuses=list(FINISHED_STATUSES), updated_before=before)
    kept = _newest_runs(instance)
    # Listed before anything is deleted: a page begins at a run, which must still be there.
    old = list(_pages(instance, ended))
    for record in old:
        run_id = record.dagster_run.run_id
        if run_id in kept:
            purged.dagster_runs_kept_for_their_asset += 1
        else:
            _delete_run(instance, run_id)
            purged._snapshot_ids |= _snapshots(record)
            purged.dagster_runs += 1
    purged.snapshots = _delete_unused_snapshots(instance, purged._snapshot_ids)
    return purged


def _newest_runs(instance: dg.DagsterInstance) -> set[str]:
    keys = list(instance.all_asset_keys())
    runs = set[str]()
    for start in range(0, len(keys), _ASSETS_AT_ONCE):
        some = keys[start : start + _ASSETS_AT_ONCE]
        for record in instance.get_asset_records(some):
            runs |= _runs_of(record.asset_entry)
    return runs


def _runs_of(asset: AssetEntry) -> set[str]:
    """The last run of an asset, the last one that was to materialize it, and the last one that did."""
    runs = {asset.last_run_id, asset.last_planned_materialization_run_id}
    if asset.last_materialization_record is not None:
        runs.add(asset.last_materialization_record.run_id)
    return {run for run in runs if run}


def _pages(
    instance: dg.DagsterInstance,
    filters: dg.RunsFilter | None = None,
) -> Iterator[RunRecord]:
    cursor: str | None = None
    while records := instance.get_run_records(
        filters,
        limit=PAGE_RUNS,
        cursor=cursor,
    ):
        yield from records
        cursor = records[-1].dagster_run.run_id


def _delete_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """The run with its tags, events, check results and captured output."""
    checks = AssetCheckExecutionsTable
    of_run = checks.c.run_id == run_id
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(checks.delete().where(of_run))
    with suppress(OSError):
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)


def _snapshots(record: RunRecord) -> set[str]:
    run = record.dagster_run
    named = (run.job_snapshot_id, run.execution_plan_snapshot_id)
    return {snapshot for snapshot in named if snapshot}


def _delete_unused_snapshots(instance: dg.DagsterInstance, candidates: set[str]) -> int:
    """Each new selection of entities leaves a snapshot of its job and of its plan, which Dagster never deletes."""
    if not candidates:
        return 0
    unused = set(candidates)
    for record in _pages(instance):
        unused -= _snapshots(record)
    ordered = sorted(unused)
    for start in range(0, len(ordered), PAGE_RUNS):
        batch = ordered[start : start + PAGE_RUNS]
        in_batch = SnapshotsTable.c.snapshot_id.in_(batch)
        with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
            connection.execute(SnapshotsTable.delete().where(in_batch))
    return len(ordered)


def purge_job(
    fingerprint: str,
    connectors: Sequence[str],
    models: Path,
) -> dg.JobDefinition:
    """`purge_history`. Its metadata say which catalog this location shows: see `reload.py`."""

    @dg.op(description="Delete old runs of Dagster and old rows of bridge.sync_runs.")
    def purge_old_runs(context: dg.OpExecutionContext, bridge: Bridge) -> None:
        started = time.monotonic()
        settings = bridge.settings()
        schedule = settings.schedule
        purged = purge_dagster_runs(context.instance, schedule.purge_dagster_runs_after_days)
        try:
            database = bridge.database()
            require_catalog(database)
            purged.sync_runs = purge_sync_runs(database, schedule.purge_sync_runs_after_days)
            purged.kept_answers = sweep_answers(settings.home)
        except SyncError as error:
            raise plain_failure(error) from None
        purged.seconds = round(time.monotonic() - started, 1)
        counts = purged.as_dict()
        context.log.info("purged: %s", counts)
        context.add_output_metadata(counts)

    @dg.job(
        name=MARKED_JOB,
        description="Delete finished Dagster runs older than PURGE_DAGSTER_RUNS_AFTER_DAYS, except the newest of"
        " each asset, and rows of bridge.sync_runs older than PURGE_SYNC_RUNS_AFTER_DAYS, except those that"
        " quarantine names, and answers that were kept for a run that never came.",
        metadata={
            FINGERPRINT: dg.MetadataValue.text(fingerprint),
            CONNECTORS: dg.MetadataValue.text(",".join(connectors)),
            DOTENV: dg.MetadataValue.text(str(dotenv_file())),
            MODELS: dg.MetadataValue.text(str(models)),
        },
    )
    def purge_history() -> None:
        purge_old_runs()

    return purge_history


def purge_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Every night, on without anybody switching it on: without it the event log grows without bound."""
    return dg.ScheduleDefinition(
        name="purge_history_nightly",
        job=job,
        cron_schedule="17 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Keeps Dagster's runs and events and bridge.sync_runs from growing without bound.",
    )
