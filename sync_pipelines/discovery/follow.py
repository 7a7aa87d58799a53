"""Fields that a run meets and nobody declared: the source's description is asked at once, and followed where that loses
nothing.
"""

from __future__ import annotations

from typing import Any

import psycopg

from sync_pipelines.catalog.connectors import stored_declaration, update_declaration
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity, update_definition
from sync_pipelines.discovery.apply import keep_coercions
from sync_pipelines.discovery.drift import Drift, Verdict, diff_entity
from sync_pipelines.errors import SyncError
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.entity import Connector, Entity
from sync_pipelines.settings import Settings
from sync_pipelines.sources.descriptions import parse_apis
from sync_pipelines.sources.registry import source_kind

WAIT_SECONDS = 10.0


def follow_fields(
    database: Database,
    connector: Connector,
    entity: Entity,
    names: set[str],
    settings: Settings,
) -> str | None:
    """Bring the catalog to the source's description if that declares some of these fields by now.

    Args:
        database: the catalog.
        connector, entity: whose records carry them; a run has the lock of the entity.
        names: the fields.
        settings: of the process.

    Returns:
        None when the catalog has new columns, so that everything must be read again; else what the fields wait for.
    """
    try:
        kind = source_kind(connector)
        raw_apis, declaration, _ = kind.describe(connector, settings, database)
        entities, _ = parse_apis(raw_apis, connector, settings)
    except SyncError as error:
        return f"the source's description cannot be read now ({error.what})"
    described = entities.get(entity.slug)
    if described is None or names.isdisjoint(_column_names(described)):
        return kind.waits_for(connector)
    with database.connect() as connection:
        if not _can_lock(connection, connector):
            return "a discovery of the source is under way, which declares them"
        known = stored_declaration(connection, connector, locked=True)
        if not _asks_the_same(known, connector.declaration, entity.slug):
            return "the connector's file was applied while its source was asked; the next run asks again"
        stored = get_entity(database, connector.name, entity.slug)
        if declaration is None:
            described = keep_coercions(stored, described)
        drift = diff_entity(stored, described)
        if drift.verdict is Verdict.DECIDE:
            return _needs_decision(drift, connector)
        update_definition(connection, stored, described, read_everything_again=True)
        if declaration is not None:
            _keep_endpoint(connection, connector, known, declaration, entity.slug)
    return None


def _column_names(entity: Entity) -> set[str]:
    return {column.name for column in entity.columns}


def _needs_decision(drift: Drift, connector: Connector) -> str:
    return (
        f"the source's description changed in a way that needs a decision ({drift.plan}): sync-pipelines"
        f" discover {connector.name}"
    )


def _can_lock(connection: psycopg.Connection[Any], connector: Connector) -> bool:
    """Be the only one who changes the connector's entities; False where somebody else is for longer.

    That may be a discovery which waits for the very table that the caller is filling, so nobody may wait for it without
    end.
    """
    connection.execute(
        "SELECT set_config('lock_timeout', %s, true)", [f"{int(WAIT_SECONDS * 1000)}ms"]
    )
    try:
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"discover:{connector.uid}"]
        )
    except psycopg.errors.LockNotAvailable:
        return False
    connection.execute("SELECT set_config('lock_timeout', '0', true)")
    return True


def _asks_the_same(
    known: dict[str, Any] | None,
    asked: dict[str, Any] | None,
    slug: str,
) -> bool:
    """Whether the source and one endpoint are declared as they were when the source was asked."""
    if known is None or asked is None:
        return known is asked
    known_endpoint = known["endpoints"].get(slug)
    asked_endpoint = asked["endpoints"].get(slug)
    of_known = {**known, "endpoints": known_endpoint}
    of_asked = {**asked, "endpoints": asked_endpoint}
    return of_known == of_asked


def _keep_endpoint(
    connection: psycopg.Connection[Any],
    connector: Connector,
    known: dict[str, Any] | None,
    declaration: Declaration,
    slug: str,
) -> None:
    """Store the endpoint as its document has it now; the others are for their own runs and for the discovery."""
    stored = Declaration.model_validate(known)
    endpoints = {**stored.endpoints, slug: declaration.endpoints[slug]}
    followed = stored.model_copy(update={"endpoints": endpoints})
    update_declaration(connection, connector, known, followed.as_json())
