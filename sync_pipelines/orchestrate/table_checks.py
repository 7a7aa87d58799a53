"""The sensor `table_checks`: it reports to Dagster what changed at a table between two runs.

That is a change of the source that waits for a decision, or a quarantine whose records were settled.
"""

from __future__ import annotations

import hashlib
import json

import dagster as dg

from sync_pipelines.catalog.connectors import list_connectors
from sync_pipelines.catalog.table_overview import TableOverview, list_table_overviews
from sync_pipelines.errors import SyncError
from sync_pipelines.model.names import asset_name_for
from sync_pipelines.orchestrate.checks import (
    as_evaluation,
    rejected_severity,
    results_without_run,
)
from sync_pipelines.orchestrate.failures import skip_or_fail
from sync_pipelines.orchestrate.metadata import overview_metadata
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.settings import Settings

MAX_REPORTS = 300  # entities of one tick; the others follow with the next

Digests = dict[str, str]
"""What was last reported, by the path of the table."""


def table_checks_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor `table_checks`."""

    @dg.sensor(
        name="table_checks",
        minimum_interval_seconds=settings.alerts.alert_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Judges the checks `contract` and `schema_drift` again where something changed without a run:"
        " a record was released, expired or fixed, a discovery stopped an entity, a person decided.",
    )
    def table_checks(context: dg.SensorEvaluationContext, bridge: Bridge) -> dg.SkipReason:
        try:
            severities = _severities(bridge)
            overviews = list_table_overviews(bridge.database())
        except SyncError as error:
            return skip_or_fail(error)
        digests: Digests = json.loads(context.cursor or "{}")
        changed = _changed(overviews, digests)[:MAX_REPORTS]
        for overview in changed:
            _report(context.instance, overview, severities[overview.connector])
        remembered = _remembered(digests, overviews, changed)
        context.update_cursor(json.dumps(remembered))
        return dg.SkipReason(
            f"{len(changed)} tables judged anew, {len(remembered)} with something to look at."
        )

    return table_checks


def digest(overview: TableOverview) -> str:
    """A short hash of what is reported of a table; a table is reported again when it differs."""
    parts = [
        overview.status,
        overview.trouble,
        overview.open_quarantine,
        overview.published_status,
        overview.is_rejecting,
        overview.undeclared,
    ]
    written = json.dumps(parts, default=str)
    return hashlib.sha256(written.encode()).hexdigest()[:12]


def _severities(bridge: Bridge) -> dict[str, dg.AssetCheckSeverity]:
    """The severity of a rejected read by connector."""
    severities = {}
    settings = bridge.settings()
    for connector in list_connectors(bridge.database()):
        severities[connector.name] = rejected_severity(connector.settings, settings)
    return severities


def _remembered(
    digests: Digests,
    overviews: list[TableOverview],
    reported: list[TableOverview],
) -> Digests:
    """The digests of the tables with trouble, by path, after a report of some of them."""
    remembered = {one.path: digests[one.path] for one in overviews if one.path in digests}
    for one in reported:
        remembered.pop(one.path, None)
        if one.trouble is not None:
            remembered[one.path] = digest(one)
    return remembered


def _changed(overviews: list[TableOverview], digests: Digests) -> list[TableOverview]:
    """Those that changed since their last report; one without trouble is reported when it had some."""
    changed = []
    for one in overviews:
        current = None if one.trouble is None else digest(one)
        if current != digests.get(one.path):
            changed.append(one)
    return changed


def _report(
    instance: dg.DagsterInstance,
    overview: TableOverview,
    severity: dg.AssetCheckSeverity,
) -> None:
    key = dg.AssetKey([overview.connector, asset_name_for(overview.slug)])
    for result in results_without_run(key, overview, severity):
        instance.report_runless_asset_event(as_evaluation(key, result))
    metadata = overview_metadata(overview)
    instance.report_runless_asset_event(dg.AssetObservation(key, metadata=metadata))
