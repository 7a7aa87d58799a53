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


@dataclass(frozen=True)
class Places:
    """The assets that a location has for incidents: one for each connector, and those of the entities."""

    connectors: tuple[str, ...]
    entities: frozenset[dg.AssetKey]

    @classmethod
    def of(cls, view: CatalogView) -> Places:
        """Those of a catalog."""
        return cls(
            tuple(connector.name for connector in view.connectors),
            frozenset(map(asset_key, view.entities)),
        )

    def connectors_of(self, incident: Incident) -> list[str]:
        """The connectors that an incident concerns: its own, or all when the database is what is wrong."""
        if incident.subject == DATABASE:
            return list(self.connectors)
        name = incident.details.get("connector") or incident.subject.partition("/")[0]
        return [name] if name in self.connectors else []

    def asset_of(self, subject: str, connectors: Sequence[str]) -> dg.AssetKey | None:
        """Where an incident is shown: at its entity, else at its connector.

        None for the database, which is no asset.
        """
        connector, _, slug = subject.partition("/")
        key = dg.AssetKey([connector, asset_name_for(slug)]) if slug else None
        if key in self.entities:
            return key
        return connector_key(connectors[0]) if len(connectors) == 1 else None


@dataclass(frozen=True)
class Told:
    """What is new since the last look of a sensor, and the cursor by which the next look knows it."""

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
    return list(map(_connector_asset, view.connectors)), [
        _incidents_check(one.name, places) for one in view.connectors
    ]


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
            raise dg.Failure(redact(str(error))) from None
        return dg.AssetCheckResult(
            **_judge([one for one in found if connector in places.connectors_of(one)])
        )

    return incidents


def read_open(database: Database) -> list[Incident]:
    """The incidents that are not over.

    Raises:
        SyncError: the catalog does not answer.
    """
    with database.connect() as connection:
        return open_incidents(connection)


def plan_events(incidents: Collection[Incident], cursor: str | None, places: Places) -> Told:
    """What to tell Dagster, once for each incident that began or is over since `cursor`.

    Args:
        incidents: all that are open.
        cursor: of the last look; None at the first, which gives every connector a result of its check.
        places: the assets that there are.
    """
    before: dict[str, dict[str, Any]] = json.loads(cursor) if cursor else {}
    now = {
        str(one.uid): {
            "subject": one.subject,
            "title": one.title,
            "connectors": places.connectors_of(one),
        }
        for one in incidents
    }
    began = [one for one in incidents if str(one.uid) not in before]
    over = [known for uid, known in before.items() if uid not in now]
    changed = set(places.connectors) if cursor is None else set()
    events: list[Event] = []
    for one in began:
        told = now[str(one.uid)]
        changed |= set(told["connectors"])
        events += _observation(
            told,
            places,
            "began",
            {"message": _text(one.message), "next_command": _text(one.next_command or "")},
        )
    for known in over:
        changed |= set(known["connectors"]) & set(places.connectors)
        events += _observation(known, places, "over", {})
    for connector in sorted(changed):
        of_connector = [one for one in incidents if connector in places.connectors_of(one)]
        judged = _judge(of_connector)
        events.append(
            dg.AssetCheckEvaluation(asset_key=connector_key(connector), check_name=CHECK, **judged)
        )
    return Told(
        events,
        began,
        [(known["title"], known["subject"]) for known in over],
        json.dumps(now),
    )


def _observation(
    told: dict[str, Any],
    places: Places,
    state: str,
    more: dict[str, str],
) -> list[Event]:
    key = places.asset_of(told["subject"], told["connectors"])
    if key is None:
        return []
    return [
        dg.AssetObservation(
            key,
            metadata={
                "incident": told["title"],
                "state": state,
                "subject": _text(told["subject"]),
                **more,
            },
        )
    ]


def _judge(incidents: Sequence[Incident]) -> dict[str, Any]:
    """The result of a connector's check."""
    severe = any(one.kind not in _WARNINGS for one in incidents)
    metadata: dict[str, Any] = {"open": len(incidents)}
    if incidents:
        metadata["incidents"] = markdown_list(_line(one) for one in incidents[:MAX_SHOWN])
        metadata["next_command"] = _text(incidents[0].next_command or "sync-pipelines alerts list")
    severity = dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN
    return {"passed": not incidents, "severity": severity, "metadata": metadata}


def _line(incident: Incident) -> str:
    return f"{incident.title} since {incident.opened_at:%Y-%m-%d %H:%M} UTC: {incident.subject}. {incident.message}"


def _text(text: str) -> str:
    return printable(text, _TEXT_CHARACTERS)
