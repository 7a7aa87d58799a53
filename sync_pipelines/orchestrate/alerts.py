"""The sensor that looks for incidents and delivers messages, and the one that hears of runs that died."""

import logging
from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import dagster as dg

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import Category, SyncError, category_of
from sync_pipelines.model.incident import STICKY, Condition, Incident, IncidentKind
from sync_pipelines.model.names import asset_name_for
from sync_pipelines.observe.evaluate import record_condition
from sync_pipelines.observe.lines import opened_line, over_line
from sync_pipelines.observe.watch import Look, look
from sync_pipelines.orchestrate.assets import CONNECTOR_TAG
from sync_pipelines.orchestrate.failures import skip_or_fail
from sync_pipelines.orchestrate.incidents import Places, plan_events, read_open
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.sql_models import MODEL_STEP
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings

logger = logging.getLogger(__name__)

_WILL_RETRY_TAG = "dagster/will_retry"
# Another incident, or a person, has them already.
_EXPLAINED = frozenset({Category.BUSY, Category.DECISION, Category.CANCELLED})
_MESSAGE_CHARACTERS = 300
_SHOWN_INCIDENTS = 5
_SHOWN_STEPS = 10
_SUMMARY_CHARACTERS = 800


def alert_sensors(settings: Settings, places: Places) -> list[dg.SensorDefinition]:
    """The sensors `alerts`, which reports what began and what is over to the assets in `places`, and `failed_runs`."""

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=settings.alerts.alert_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Opens and closes incidents and delivers messages about them; `sync-pipelines alerts list`"
        " shows them.",
    )
    def alerts(
        context: dg.SensorEvaluationContext, bridge: Bridge
    ) -> dg.SensorResult | dg.SkipReason:
        find_over = partial(runs_that_recovered, context.instance)
        try:
            done = look(bridge.database, bridge.settings(), find_over)
            incidents = read_open(bridge.database())
        except SyncError as error:
            return skip_or_fail(error)
        # By the cursor and not by this look: another sensor, or a person's command, opens and closes incidents, too.
        news = plan_events(incidents, context.cursor, places)
        for incident in news.began:
            context.log.error("%s", opened_line(incident))
        for title, subject in news.over:
            context.log.info("%s", over_line(title, subject))
        return dg.SensorResult(
            skip_reason=_summary(done, incidents),
            asset_events=news.events,
            cursor=news.cursor,
        )

    @dg.run_failure_sensor(
        name="failed_runs",
        minimum_interval_seconds=settings.alerts.alert_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Opens an incident for a run that died, or failed where no sync wrote it down.",
    )
    def failed_runs(context: dg.RunFailureSensorContext, bridge: Bridge) -> None:
        condition = plan_run_failure(
            context.dagster_run,
            context.failure_event.message or "",
            context.get_step_failure_events(),
            bridge.database(),
        )
        if condition is not None:
            record_condition(bridge.database(), bridge.settings(), condition)

    return [alerts, failed_runs]


def _summary(done: Look, incidents: Sequence[Incident]) -> str:
    """What a tick did and what is open, the result that the UI shows."""
    if not incidents:
        return f"{done}."
    shown = [f"{one.title} ({one.subject})" for one in incidents[:_SHOWN_INCIDENTS]]
    subjects = printable("; ".join(shown), _SUMMARY_CHARACTERS)
    left = len(incidents) - len(shown)
    more = f" and {left} more" if left else ""
    return f"{done}. Open: {subjects}{more}."


def plan_run_failure(
    run: dg.DagsterRun,
    message: str,
    step_failures: Iterable[dg.DagsterEvent],
    database: Database,
) -> Condition | None:
    """The condition that a failed run is; None when each of its failed steps is explained by a row of the catalog.

    A run without any failed step died: killed, not launched, or its code location is broken. One that Dagster runs
    again is no trouble before that has failed, too.
    """
    if run.tags.get(_WILL_RETRY_TAG) == "true":
        return None
    failures = [event for event in step_failures if event.step_key]
    subject = run_subject(run)
    details: dict[str, Any] = {
        "run": run.run_id,
        "job": run.job_name,
        "connector": run.tags.get(CONNECTOR_TAG),
    }
    if failures:
        explained = _explained_steps(run, database)
        failures = [event for event in failures if _is_unexplained(event, explained)]
        if not failures:
            return None
        details["steps"] = [event.step_key for event in failures[:_SHOWN_STEPS]]
        text = _failed_steps(failures, run.run_id, subject)
    else:
        reason = printable(message, _MESSAGE_CHARACTERS) or "no reason is known"
        text = f"The run {run.run_id} of {subject} died: {reason}"
    command = f"dagster run list --limit 5, or the page of the run {run.run_id} in the UI"
    return Condition(IncidentKind.RUN_FAILED, subject, text, command, details)


def _is_unexplained(event: dg.DagsterEvent, explained: set[str]) -> bool:
    return event.step_key not in explained and _category(event) not in _EXPLAINED


def _failed_steps(
    failures: Sequence[dg.DagsterEvent],
    run_id: str,
    subject: str,
) -> str:
    """One sentence: which steps failed, and why the first of them did."""
    steps = [_step_name(str(event.step_key)) for event in failures[:_SHOWN_STEPS]]
    names = ", ".join(steps)
    reason = printable(_reason(failures[0]), _MESSAGE_CHARACTERS)
    return f"{names[0].upper()}{names[1:]} failed in the run {run_id} of {subject}: {reason}"


def _step_name(step: str) -> str:
    """A step in words: what it builds, discovers or does."""
    if step.endswith(MODEL_STEP):
        model = step.removesuffix(MODEL_STEP)
        return f"the SQL model {model.replace('__', '/', 1)}"
    if step.startswith("discover_") and step.endswith("_apis"):
        connector = step.removeprefix("discover_").removesuffix("_apis")
        return f"the discovery of {connector}"
    return f"the step {step}"


def run_subject(run: dg.DagsterRun) -> str:
    """What a run is named by: its job, or the connector where the job is one of Dagster's."""
    if not run.job_name.startswith("__"):
        return run.job_name
    connector = run.tags.get(CONNECTOR_TAG)
    return f"runs of {connector}" if connector else "runs of chosen assets"


def runs_that_recovered(instance: dg.DagsterInstance, incidents: Iterable[Incident]) -> set[UUID]:
    """The incidents of failed runs since whose last failure a run of the same job and connector succeeded."""
    sticky = (incident for incident in incidents if incident.kind in STICKY)
    return {incident.uid for incident in sticky if _recovered(instance, incident)}


def _recovered(instance: dg.DagsterInstance, incident: Incident) -> bool:
    connector = incident.details.get("connector")
    wanted = dg.RunsFilter(
        job_name=incident.details.get("job"),
        statuses=[dg.DagsterRunStatus.SUCCESS],
        tags={CONNECTOR_TAG: connector} if connector else None,
        updated_after=incident.last_seen_at - timedelta(seconds=1),
    )
    failed = instance.get_run_record_by_id(incident.details.get("run", ""))
    successes = instance.get_run_records(wanted, limit=20)
    if failed is None:
        return bool(successes)
    return any(success.create_timestamp > failed.create_timestamp for success in successes)


def _explained_steps(run: dg.DagsterRun, database: Database) -> set[str]:
    """Steps that have their own row: of a sync of this run, or of a discovery that found the source unreachable."""
    with database.connect() as connection:
        synced = connection.execute(
            """
            SELECT DISTINCT c.name, e.slug FROM sync_runs r JOIN entities e ON e.uid = r.entity_uid
            JOIN connectors c ON c.uid = e.connector_uid WHERE r.triggered_by LIKE %s AND r.created_at > now() -
                interval '7 days'
            """,
            [f"%dagster run {run.run_id}%"],
        ).fetchall()
        unreachable = connection.execute(
            "SELECT name FROM connectors WHERE last_discovery_error_category = %s",
            [Category.UNREACHABLE],
        ).fetchall()
    steps = {f"{row['name']}__{asset_name_for(row['slug'])}" for row in synced}
    return steps | {f"discover_{row['name']}_apis" for row in unreachable}


def _category(event: dg.DagsterEvent) -> Category:
    failure = event.step_failure_data.user_failure_data
    if failure is None or "category" not in failure.metadata:
        return Category.OTHER
    return category_of(str(failure.metadata["category"].value))


def _reason(event: dg.DagsterEvent) -> str:
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    message = failure.error.message if failure.error else None
    return message or event.message or ""
