"""Ask a source what it offers and bring the catalog to it; nothing is ever dropped."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from sync_pipelines.catalog.connectors import (
    get_connector,
    record_discovery,
    stored_declaration,
    update_declaration,
)
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import (
    insert_entity,
    list_entities,
    mark_entity,
    update_definition,
)
from sync_pipelines.destinations.postgres.aside import set_aside
from sync_pipelines.destinations.registry import open_destination
from sync_pipelines.discovery.drift import Verdict, diff_entity
from sync_pipelines.errors import NotFoundError, SourceContractError, SyncError
from sync_pipelines.model.entity import Connector, Entity, EntityStatus
from sync_pipelines.settings import Settings, load_settings
from sync_pipelines.sources.descriptions import parse_apis
from sync_pipelines.sources.registry import source_kind

logger = logging.getLogger(__name__)

VANISHED_REASON = "The source does not list it any more; the table is kept."


@dataclass
class DiscoveryReport:
    """What a discovery found, by slug; words for `changed`, `stopped` and `invalid`.

    Attributes:
        set_aside: where an old table is kept.
        followers: views and the like that read the new table in its place.
        to_do: statements for a person, once the new table is filled.
    """

    connector: str
    added: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    invalid: dict[str, str] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)
    followers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    to_do: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def needs_action(self) -> bool:
        """Some entity cannot be synced until a person decides."""
        return bool(self.stopped or self.invalid)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return dict(vars(self))


def discover(
    database: Database,
    connector_name: str,
    *,
    accept: tuple[str, ...] = (),
    settings: Settings | None = None,
) -> DiscoveryReport:
    """Discover the APIs of a connector.

    Args:
        database: where the catalog is.
        connector_name: the connector.
        accept: slugs whose breaking changes are accepted: their table is renamed and kept, a new one is built by
            reading everything again.
        settings: the process settings when None.

    Raises:
        SyncError: the source cannot be asked; the catalog is as before, with the reason on the connector.
    """
    settings = settings or load_settings()
    connector = get_connector(database, connector_name)
    try:
        raw_apis, declaration, left_out = source_kind(connector).describe(
            connector, settings, database
        )
        entities, errors = parse_apis(raw_apis, connector, settings)
        _check_accepted(accept, entities)
        if not entities:
            _check_nothing_known(database, connector_name, errors, left_out)
    except SyncError as error:
        record_discovery(database, connector, error)
        raise error.at(connector=connector_name) from error
    report = DiscoveryReport(connector_name)
    with database.connect() as connection:
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"discover:{connector.uid}"]
        )
        is_outdated = stored_declaration(connection, connector) != connector.declaration
        if not is_outdated:
            # Read under the lock: another discovery may just have stored them.
            stored = {entity.slug: entity for entity in list_entities(database, connector_name)}
            errors |= _apply_all(database, connection, connector, stored, entities, accept, report)
            _mark_vanished(connection, stored, entities, errors, left_out, report)
            if declaration is not None:
                update_declaration(
                    connection, connector, connector.declaration, declaration.as_json()
                )
    if is_outdated:
        # A file was applied, or a run followed a field, while the source was asked: what it said answers older
        # questions.
        return discover(database, connector_name, accept=accept, settings=settings)
    report.invalid = {slug: _told(error) for slug, error in errors.items()}
    record_discovery(database, connector, None)
    return report


def _told(error: SyncError) -> str:
    return f"{error.what} Next: {error.next_command}" if error.next_command else error.what


def _apply_all(
    database: Database,
    connection: psycopg.Connection[Any],
    connector: Connector,
    stored: dict[str, Entity],
    entities: dict[str, Entity],
    accept: Collection[str],
    report: DiscoveryReport,
) -> dict[str, SyncError]:
    """Bring the catalog to each entity that the source describes; returns the errors of those that failed."""
    errors: dict[str, SyncError] = {}
    for slug, entity in entities.items():
        try:
            with connection.transaction():
                _apply(
                    database,
                    connection,
                    connector,
                    stored.get(slug),
                    entity,
                    slug in accept,
                    report,
                )
        except SyncError as error:
            errors[slug] = error
    return errors


def _check_accepted(accept: Collection[str], entities: Collection[str]) -> None:
    unknown = [slug for slug in accept if slug not in entities]
    if unknown:
        raise NotFoundError(
            f"The source does not offer {unknown[0]!r} in a usable form.",
            state="Nothing was changed.",
        )


def _check_nothing_known(
    database: Database, connector_name: str, errors: dict[str, SyncError], left_out: dict[str, str]
) -> None:
    known = [
        entity
        for entity in list_entities(database, connector_name)
        if entity.status is EntityStatus.ACTIVE
    ]
    if known and not any(entity.slug in errors for entity in known):
        why = next(
            (
                f" {entity.slug} is left out: {left_out[entity.slug]}"
                for entity in known
                if entity.slug in left_out
            ),
            "",
        )
        raise SourceContractError(
            f"The source lists no usable API at all, but the catalog has {len(known)}; that is taken for a fault.{why}",
            state="The catalog is as before.",
            next_command=f"sync-pipelines connector test {connector_name}",
        )


def _apply(
    database: Database,
    connection: psycopg.Connection[Any],
    connector: Connector,
    stored: Entity | None,
    entity: Entity,
    accepted: bool,
    report: DiscoveryReport,
) -> None:
    if stored is None:
        insert_entity(connection, connector, entity)
        report.added.append(entity.slug)
        return
    if not source_kind(connector).is_declared:
        entity = keep_coercions(stored, entity)
    drift = diff_entity(stored, entity)
    if drift.verdict is Verdict.DECIDE and not accepted:
        mark_entity(
            connection, stored, EntityStatus.ACTION_REQUIRED, f"The source changed: {drift.plan}."
        )
        report.stopped[entity.slug] = drift.plan
        return
    if accepted:
        _start_over(database, connection, connector, stored, entity, report)
    if drift.verdict is Verdict.SAME and stored.status is EntityStatus.ACTIVE and not accepted:
        report.unchanged.append(entity.slug)
        return
    update_definition(
        connection, stored, entity, read_everything_again=drift.read_everything_again or accepted
    )
    if stored.status is EntityStatus.VANISHED:
        report.returned.append(entity.slug)
    elif drift.plan:
        report.changed[entity.slug] = drift.plan
    else:
        report.unchanged.append(entity.slug)


def keep_coercions(stored: Entity, entity: Entity) -> Entity:
    """What a person allows of the columns of a source that describes itself (`entity set --coerce`) outlives a
    discovery.
    """
    words = {column.name: column.coerce for column in stored.coerced}
    columns = tuple(
        replace(column, coerce="" if column.is_business_key else words.get(column.name, ""))
        for column in entity.columns
    )
    return replace(entity, columns=columns)


def _start_over(
    database: Database,
    connection: psycopg.Connection[Any],
    connector: Connector,
    stored: Entity,
    entity: Entity,
    report: DiscoveryReport,
) -> None:
    suffix = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
    if stored.destination == "postgres":
        # In the same transaction as the catalog; elsewhere a rename is a commit of its own, and a repeated one finds
        # nothing.
        with connection.cursor(row_factory=tuple_row) as cursor:
            aside = set_aside(
                cursor,
                stored,
                suffix,
                replace(stored, columns=stored.masked_columns(entity.columns)),
            )
        kept = aside.kept_as if aside else None
        if aside is not None and aside.followers:
            report.followers[stored.slug] = aside.followers
        if aside is not None and aside.to_do:
            report.to_do[stored.slug] = aside.to_do
    else:
        kept = open_destination(database, connector, stored).set_aside(stored, suffix)
    connection.execute(
        """
        UPDATE entities SET last_rowversion = NULL, seen_rowversion = NULL, cursor_marks = '[]', row_count = NULL,
            full_refresh_pending = true
        WHERE uid = %s
        """,
        [stored.uid],
    )
    # What is still bad comes again when everything is read; keys of the old table mean nothing in the new one.
    connection.execute(
        "UPDATE quarantine SET resolved_at = now(), resolution = 'rebuilt' WHERE entity_uid = %s"
        " AND resolved_at IS NULL",
        [stored.uid],
    )
    if kept:
        report.set_aside[stored.slug] = kept


def _mark_vanished(
    connection: psycopg.Connection[Any],
    stored: dict[str, Entity],
    entities: dict[str, Entity],
    errors: dict[str, SyncError],
    left_out: dict[str, str],
    report: DiscoveryReport,
) -> None:
    for slug, entity in stored.items():
        if slug in entities:
            continue
        if slug in errors:
            mark_entity(
                connection,
                entity,
                EntityStatus.ACTION_REQUIRED,
                f"Its description is not usable: {errors[slug].what}",
            )
        elif entity.status is not EntityStatus.VANISHED:
            mark_entity(
                connection, entity, EntityStatus.VANISHED, _vanished_reason(left_out.get(slug))
            )
            report.vanished.append(slug)


def _vanished_reason(left_out: str | None) -> str:
    if left_out is None:
        return VANISHED_REASON
    return f"Its OpenAPI document is read without it, and the table is kept: {left_out}"
