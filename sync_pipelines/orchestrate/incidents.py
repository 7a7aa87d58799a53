"""Incidents as Dagster shows them: an asset per connector with the check `incidents`, and observations on what an
incident is about.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.incidents import open_incidents
from sync_pipelines.errors import SyncError
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.incident import DATABASE, Incident, IncidentKind
from sync_pipelines.model.names import asset_name_for
from sync_pipelines.orchestrate.assets import CONNECTOR_TAG, asset_key
from sync_pipelines.orchestrate.failures import plain_failure
from sync_pipelines.orchestrate.markdown import markdown_list, markdown_paragraphs
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.snapshot import CatalogView
from sync_pipelines.secrets import printable, redact

CHECK = "incidents"
MAX_SHOWN = 20
_TEXT_CHARACTERS = 1_000
# Nothing is wrong with the data yet.
_WARNINGS = frozenset({IncidentKind.SLOW_SOURCE, IncidentKind.RUN_DURATION})

Event = dg.AssetObservation | dg.AssetCheckEvaluation

Seen = dict[str, Any]
"""What a cursor keeps of an incident, for the event that it is over."""


@dataclass(frozen=True)
class Places:
    """The assets that a location has for incidents: one for each connector, and those of the entities."""

    connectors: tuple[str, ...]
    entities: frozenset[dg.AssetKey]

    @classmethod
    def of(cls, view: CatalogView) -> Places:
        """Those of a catalog."""
        connectors = tuple(connector.name for connector in view.connectors)
        entities = frozenset(map(asset_key, view.entities))
        return cls(connectors, entities)

    def connectors_of(self, incident: Incident) -> list[str]:
        """The connectors that an incident concerns: its own, or all when the database is what is wrong."""
        if incident.subject == DATABASE:
            return list(self.connectors)
        first, _, _ = incident.subject.partition("/")
        name = incident.details.get("connector") or first
        return [name] if name in self.connectors else []

    def asset_of(self, subject: str, connectors: Sequence[str]) -> dg.AssetKey | None:
        """Where an incident is shown: at its entity, else at its connector.

        None for the database, which is no asset.
        """
        connector, _, slug = subject.partition("/")
        if slug:
            key = dg.AssetKey([connector, asset_name_for(slug)])
            if key in self.entities:
                return key
        if len(connectors) != 1:
            return None
        return connector_key(connectors[0])


@dataclass(frozen=True)
class News:
    """What is new since the last look of a sensor.

    Attributes:
        events: for Dagster.
        began: incidents that the last look did not see.
        over: title and subject of each incident that is no longer open.
        cursor: what this look saw, for the next one.
    """

    events: list[Event]
    began: list[Incident]
    over: list[tuple[str, str]]
    cursor: str


def connector_key(connector: str) -> dg.AssetKey:
    """`[connector]`: the source as a whole."""
    return dg.AssetKey([connector])


def connector_assets(
    view: CatalogView,
) -> tuple[list[dg.AssetSpec], list[dg.AssetChecksDefinition]]:
    """An asset for each connector, which nobody materializes, and its check."""
    places = Places.of(view)
    assets = []
    checks = []
    for connector in view.connectors:
        assets.append(_connector_asset(connector))
        checks.append(_incidents_check(connector.name, places))
    return assets, checks


def _connector_asset(connector: Connector) -> dg.AssetSpec:
    return dg.AssetSpec(
        connector_key(connector.name),
        group_name=connector.name,
        description=markdown_paragraphs(f"The source {connector.name}."),
        metadata={"dagster/uri": redact(connector.base_url)},
        kinds={"source"},
        tags={CONNECTOR_TAG: connector.name},
    )


def _incidents_check(connector: str, places: Places) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name=CHECK,
        asset=connector_key(connector),
        description=f"Nothing is wrong with {connector} at this moment; `sync-pipelines alerts list` shows the same.",
    )
    def incidents(bridge: Bridge) -> dg.AssetCheckResult:
        try:
            found = read_open(bridge.database())
        except SyncError as error:
            raise plain_failure(error) from None
        judged = _judge(_of_connector(found, connector, places))
        return dg.AssetCheckResult(**judged)

    return incidents


def read_open(database: Database) -> list[Incident]:
    """The incidents that are not over.

    Raises:
        SyncError: the catalog does not answer.
    """
    with database.connect() as connection:
        return open_incidents(connection)


def plan_events(
    incidents: Collection[Incident],
    cursor: str | None,
    places: Places,
) -> News:
    """Plan the events for Dagster: one for each incident that began or is over since `cursor`.

    Args:
        incidents: all that are open.
        cursor: of the last look; None at the first, which gives every connector a result of its check.
        places: the assets that there are.
    """
    before: dict[str, Seen] = json.loads(cursor) if cursor else {}
    now = {str(one.uid): _seen(one, places) for one in incidents}
    began = [one for one in incidents if str(one.uid) not in before]
    over = [seen for uid, seen in before.items() if uid not in now]
    changed = set(places.connectors) if cursor is None else set()
    events: list[Event] = []
    for one in began:
        seen = now[str(one.uid)]
        changed.update(seen["connectors"])
        advice = {"message": _text(one.message), "next_command": _text(one.next_command or "")}
        events += _observation(seen, places, "began", advice)
    for seen in over:
        changed.update(seen["connectors"])
        events += _observation(seen, places, "over", {})
    # A connector that was removed meanwhile has no check any more.
    for connector in sorted(changed.intersection(places.connectors)):
        events.append(_evaluation(incidents, connector, places))
    titles = [(seen["title"], seen["subject"]) for seen in over]
    return News(events, began, titles, json.dumps(now))


def _seen(incident: Incident, places: Places) -> Seen:
    return {
        "subject": incident.subject,
        "title": incident.title,
        "connectors": places.connectors_of(incident),
    }


def _observation(
    seen: Seen,
    places: Places,
    state: str,
    more: dict[str, str],
) -> list[Event]:
    key = places.asset_of(seen["subject"], seen["connectors"])
    if key is None:
        return []
    metadata = {
        "incident": seen["title"],
        "state": state,
        "subject": _text(seen["subject"]),
        **more,
    }
    return [dg.AssetObservation(key, metadata=metadata)]


def _evaluation(
    incidents: Collection[Incident],
    connector: str,
    places: Places,
) -> dg.AssetCheckEvaluation:
    judged = _judge(_of_connector(incidents, connector, places))
    key = connector_key(connector)
    return dg.AssetCheckEvaluation(asset_key=key, check_name=CHECK, **judged)


def _of_connector(
    incidents: Collection[Incident],
    connector: str,
    places: Places,
) -> list[Incident]:
    return [one for one in incidents if connector in places.connectors_of(one)]


def _judge(incidents: Sequence[Incident]) -> dict[str, Any]:
    """The result of a connector's check."""
    severity = dg.AssetCheckSeverity.WARN
    if any(one.kind not in _WARNINGS for one in incidents):
        severity = dg.AssetCheckSeverity.ERROR
    metadata: dict[str, Any] = {"open": len(incidents)}
    if incidents:
        lines = [_line(one) for one in incidents[:MAX_SHOWN]]
        command = incidents[0].next_command or "sync-pipelines alerts list"
        metadata["incidents"] = markdown_list(lines)
        metadata["next_command"] = _text(command)
    return {
        "passed": not incidents,
        "severity": severity,
        "metadata": metadata,
    }


def _line(incident: Incident) -> str:
    return f"{incident.title} since {incident.opened_at:%Y-%m-%d %H:%M} UTC: {incident.subject}. {incident.message}"


def _text(text: str) -> str:
    return printable(text, _TEXT_CHARACTERS)
