"""The sensor that keeps checks true between the runs: a change that waits for a decision, a quarantine that was worked
off.
"""

from __future__ import annotations

import hashlib
import json

import dagster as dg

from sync_pipelines.catalog.connectors import list_connectors
from sync_pipelines.catalog.standing import Standing, list_standings
from sync_pipelines.errors import ConfigurationError, DatabaseRefusedError, SyncError
from sync_pipelines.model.limits import RunLimits
from sync_pipelines.model.names import asset_name_for
from sync_pipelines.orchestrate.checks import as_evaluation, results_without_run
from sync_pipelines.orchestrate.metadata import standing_metadata
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.secrets import redact
from sync_pipelines.settings import Settings

MAX_REPORTS = 300  # entities of one tick; the others follow with the next


def standing_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor `table_checks`."""

    @dg.sensor(
        name="table_checks",
        minimum_interval_seconds=settings.alerts.alert_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Judges the checks `contract` and `schema_drift` again where something changed without a run:"
        " a record was released, "
        "expired or fixed, a discovery stopped an entity, a person decided.",
    )
    def table_checks(context: dg.SensorEvaluationContext, bridge: Bridge) -> dg.SkipReason:
        try:
            standings, severities = _read(bridge)
        except DatabaseRefusedError as error:
            raise dg.Failure(redact(str(error))) from None
        except ConfigurationError as error:
            return dg.SkipReason(redact(str(error)))
        except SyncError as error:
            raise dg.Failure(redact(str(error))) from None
        told: dict[str, str] = json.loads(context.cursor or "{}")
        changed = _changed(standings, told)[:MAX_REPORTS]
        for standing in changed:
            _report(context.instance, standing, severities[standing.connector])
        remembered = _remembered(told, standings, changed)
        context.update_cursor(json.dumps(remembered))
        return dg.SkipReason(
            f"{len(changed)} tables judged anew, {len(remembered)} with something to look at."
        )

    return table_checks


def rejected_severity(
    connector_settings: dict[str, object], settings: Settings
) -> dg.AssetCheckSeverity:
    """How severe a rejected read of a connector is: its own setting, or the process's."""
    chosen = (
        RunLimits.from_settings(connector_settings).rejected_severity
        or settings.alerts.rejected_severity
    )
    return dg.AssetCheckSeverity.ERROR if chosen == "error" else dg.AssetCheckSeverity.WARN


def digest(standing: Standing) -> str:
    """What makes a standing worth telling again."""
    parts = [
        standing.status,
        standing.trouble,
        standing.open_quarantine,
        standing.published_status,
        standing.is_rejecting,
        standing.undeclared,
    ]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:12]


def _read(bridge: Bridge) -> tuple[list[Standing], dict[str, dg.AssetCheckSeverity]]:
    """The standing of every table, and the severity of rejected records by connector."""
    database = bridge.database()
    settings = bridge.settings()
    severities = {
        one.name: rejected_severity(one.settings, settings) for one in list_connectors(database)
    }
    return list_standings(database), severities


def _remembered(
    told: dict[str, str], standings: list[Standing], reported: list[Standing]
) -> dict[str, str]:
    """The digests of the tables with trouble, by path, after a report of some of them."""
    paths = {standing.path for standing in reported}
    kept = {
        standing.path: told[standing.path]
        for standing in standings
        if standing.path in told.keys() - paths
    }
    return kept | {
        standing.path: digest(standing) for standing in reported if standing.trouble is not None
    }


def _changed(standings: list[Standing], told: dict[str, str]) -> list[Standing]:
    """Those that changed since their last report; one without trouble is reported when it had some."""
    return [
        one
        for one in standings
        if told.get(one.path) != (digest(one) if one.trouble is not None else None)
    ]


def _report(
    instance: dg.DagsterInstance, standing: Standing, severity: dg.AssetCheckSeverity
) -> None:
    key = dg.AssetKey([standing.connector, asset_name_for(standing.slug)])
    for result in results_without_run(key, standing, severity):
        instance.report_runless_asset_event(as_evaluation(key, result))
    instance.report_runless_asset_event(
        dg.AssetObservation(key, metadata=standing_metadata(standing))
    )
