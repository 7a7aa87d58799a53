"""Rows of `bridge.entities`."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

import psycopg
from psycopg.types.json import Jsonb

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import (
    ConfigurationError,
    EntityDefinitionError,
    NotFoundError,
    SettingsError,
)
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.cursor_plan import CursorMark
from sync_pipelines.model.entity import (
    Column,
    Connector,
    DeltaStrategy,
    Entity,
    EntityDefinition,
    EntityStatus,
    Position,
    SyncPolicy,
    Timeline,
)
from sync_pipelines.secrets import printable

_SELECT = """
SELECT e.uid, c.name AS connector, e.slug, e.api_name, e.description, e.delta_strategy, e.columns, e.target_schema,
       e.target_table, e.destination, e.sync_enabled, e.sync_interval_seconds, e.page_size, e.lookback_seconds,
           e.max_vanished_share,
       e.cursor_codec, e.last_rowversion AS cursor, e.cursor_marks, e.full_refresh_pending, e.status, e.status_reason,
       e.row_count, e.last_sync_at, e.last_sync_status, e.consecutive_failures, e.last_success_at, e.next_due_at,
       e.due_reason, e.seen_rowversion, e.masks AS stored_masks, e.held_deletions
FROM entities e JOIN connectors c ON c.uid = e.connector_uid
"""
_SETTABLE = {
    "sync_enabled",
    "sync_interval_seconds",
    "page_size",
    "lookback_seconds",
    "max_vanished_share",
}


def entity_from_row(row: dict[str, Any]) -> Entity:
    """Build an entity from a row of the catalog query, or of the snapshot file, which has no positions.

    Raises:
        ConfigurationError: a word in it is not known, of a newer version say.
    """
    typed = {**row}
    marks = typed.get("cursor_marks", ())
    codec = typed.get("cursor_codec")
    typed |= {
        "description": row["description"] or "",
        "delta_strategy": _known(DeltaStrategy, row, "delta_strategy"),
        "columns": tuple(Column(**column) for column in row["columns"]),
        "status": _known(EntityStatus, row, "status"),
        "cursor_codec": None if codec is None else _known(Codec, row, "cursor_codec"),
        "cursor_marks": tuple(CursorMark.from_json(mark) for mark in marks),
    }
    return Entity(
        **_taken(EntityDefinition, typed),
        policy=SyncPolicy(**_taken(SyncPolicy, typed)),
        position=Position(**_taken(Position, typed)),
        timeline=Timeline(**_taken(Timeline, typed)),
    )


_Words = TypeVar("_Words", bound=StrEnum)


def _known(words: type[_Words], row: dict[str, Any], name: str) -> _Words:
    try:
        return words(row[name])
    except ValueError:
        shown = printable(str(row[name]))
        known = ", ".join(words)
        raise ConfigurationError(
            f"The catalog has the {name} {shown!r}, which this version does not know; known: {known}.",
            where={"connector": row["connector"], "entity": row["slug"]},
            state="Nothing was read and nothing was changed.",
            next_command="sync-pipelines doctor",
        ) from None


def _taken(part: type[Any], row: dict[str, Any]) -> dict[str, Any]:
    """The values of a row that are fields of one part of an entity."""
    return {name: row[name] for name in part.__dataclass_fields__ if name in row}


def list_entity_rows(
    database: Database,
    connector: str | None = None,
) -> list[dict[str, Any]]:
    """Catalog rows of all entities (of active connectors when none is named), ordered by path."""
    where, parameters = (
        ("WHERE c.name = %s", [connector]) if connector else ("WHERE c.is_active", [])
    )
    with database.connect() as connection:
        return list(connection.execute(f"{_SELECT} {where} ORDER BY c.name, e.slug", parameters))


def list_entities(
    database: Database,
    connector: str | None = None,
) -> list[Entity]:
    """Entities by path; those of one connector when named."""
    return [entity_from_row(row) for row in list_entity_rows(database, connector)]


def get_entity(database: Database, connector: str, slug: str) -> Entity:
    """One entity.

    Raises:
        NotFoundError: lists what the connector has.
    """
    with database.connect() as connection:
        row = connection.execute(
            f"{_SELECT} WHERE c.name = %s AND e.slug = %s", [connector, slug]
        ).fetchone()
    if row is None:
        known = [entity.slug for entity in list_entities(database, connector)]
        raise NotFoundError(
            f"There is no entity {connector}/{slug}; the connector has: {', '.join(known[:20]) or 'none'}.",
            state="Nothing was changed.",
            next_command=f"sync-pipelines discover {connector}",
        )
    return entity_from_row(row)


def insert_entity(
    connection: psycopg.Connection[Any],
    connector: Connector,
    entity: Entity,
) -> None:
    """Store a newly discovered entity.

    Raises:
        EntityDefinitionError: its table already belongs to another entity.
    """
    taken = connection.execute(
        """
        SELECT c.name || '/' || e.slug AS path FROM entities e JOIN connectors c ON c.uid = e.connector_uid
        WHERE e.target_schema = %s AND e.target_table = %s
        """,
        [entity.target_schema, entity.target_table],
    ).fetchone()
    if taken:
        raise EntityDefinitionError(
            f"Its table {entity.target_schema}.{entity.target_table} already belongs to {taken['path']}."
        )
    connection.execute(
        """
        INSERT INTO entities (uid, connector_uid, slug, api_name, description, delta_strategy, business_keys,
            target_schema, target_table, columns, sync_interval_seconds, lookback_seconds, max_vanished_share,
                cursor_codec,
            destination)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            entity.uid,
            connector.uid,
            entity.slug,
            entity.api_name,
            entity.description,
            entity.delta_strategy,
            Jsonb([column.name for column in entity.business_keys]),
            entity.target_schema,
            entity.target_table,
            Jsonb([column.as_json() for column in entity.columns]),
            entity.policy.sync_interval_seconds,
            entity.policy.lookback_seconds,
            entity.policy.max_vanished_share,
            entity.position.cursor_codec,
            connector.destination,
        ],
    )


def update_definition(
    connection: psycopg.Connection[Any],
    current: Entity,
    discovered: Entity,
    *,
    read_everything_again: bool,
) -> None:
    """Take over a changed definition; the cursor stays unless everything must be read again."""
    connection.execute(
        """
        UPDATE entities SET api_name = %s, description = %s, delta_strategy = %s, business_keys = %s, columns = %s,
            cursor_codec = coalesce(%s, cursor_codec), status = 'active', status_reason = NULL,
            full_refresh_pending = full_refresh_pending OR %s, updated_at = now()
        WHERE uid = %s
        """,
        [
            discovered.api_name,
            discovered.description,
            discovered.delta_strategy,
            Jsonb([column.name for column in discovered.business_keys]),
            Jsonb([column.as_json() for column in discovered.columns]),
            discovered.position.cursor_codec,
            read_everything_again,
            current.uid,
        ],
    )


def mark_entity(
    connection: psycopg.Connection[Any],
    entity: Entity,
    status: EntityStatus,
    reason: str | None,
) -> None:
    """Set an entity's status with its reason."""
    connection.execute(
        "UPDATE entities SET status = %s, status_reason = %s, updated_at = now() WHERE uid = %s",
        [status, reason, entity.uid],
    )


def change_entity(database: Database, entity: Entity, **changes: Any) -> Entity:
    """Change how an entity is synced.

    Args:
        database: where the catalog is.
        entity: the entity to change.
        changes: any of sync_enabled, sync_interval_seconds, page_size, lookback_seconds, max_vanished_share.

    Raises:
        SettingsError: an unknown name or a value out of range.
    """
    unknown = set(changes) - _SETTABLE
    if unknown:
        raise SettingsError(
            f"Not settable: {', '.join(sorted(unknown))}; settable: {', '.join(sorted(_SETTABLE))}."
        )
    assignments = ", ".join(f"{name} = %({name})s" for name in sorted(changes))
    if "sync_interval_seconds" in changes:
        # A shorter interval counts from now, and not only after the old one is over.
        assignments += """, next_due_at = CASE WHEN due_reason = 'interval'
            THEN least(next_due_at, now() + %(sync_interval_seconds)s * interval '1 second') ELSE next_due_at END"""
    with database.connect() as connection:
        try:
            if changes:
                connection.execute(
                    f"UPDATE entities SET {assignments}, updated_at = now() WHERE uid = %(uid)s",
                    {**changes, "uid": entity.uid},
                )
        except psycopg.errors.CheckViolation as error:
            raise SettingsError(
                f"A value is out of range: {error.diag.constraint_name}."
            ) from error
    return get_entity(database, entity.connector, entity.slug)


def change_coercion(
    database: Database,
    entity: Entity,
    words: dict[str, str],
) -> Entity:
    """Allow, or no longer allow, that values of columns are cut or left out; the next sync reads everything.

    Args:
        database: where the catalog is.
        entity: of a source that describes itself; a declared one says it in its file.
        words: by column; "" = no longer.

    Raises:
        SettingsError: no such column, or a business key.
    """
    columns = {column.name: column for column in entity.columns}
    for name in words:
        if name not in columns:
            raise SettingsError(
                f"{entity.path} has no column {name!r}.", state="Nothing was changed."
            )
        if columns[name].is_business_key:
            raise SettingsError(
                f"{name} is the business key: cut, two records could become one row.",
                state="Nothing was changed.",
            )
    changed = [
        replace(column, coerce=words.get(column.name, column.coerce)) for column in entity.columns
    ]
    if get_connector(database, entity.connector).declaration is not None:
        raise SettingsError(
            f"What may be coerced of {entity.path} is set in its connector's file, under `coerce`.",
            state="Nothing was changed.",
            next_command=f"sync-pipelines connector export {entity.connector}",
        )
    with database.connect() as connection:
        connection.execute(
            "UPDATE entities SET columns = %s, full_refresh_pending = true, updated_at = now() WHERE uid = %s",
            [Jsonb([column.as_json() for column in changed]), entity.uid],
        )
    return get_entity(database, entity.connector, entity.slug)


def change_destination(
    database: Database,
    entity: Entity,
    destination: str,
) -> Entity:
    """Let an entity's rows go elsewhere from now on: the next sync reads everything; the old table stays as it is.

    The caller has checked the name of the destination.
    """
    if destination != entity.destination:
        with database.connect() as connection:
            connection.execute(
                """
                UPDATE entities SET destination = %s, last_rowversion = NULL, cursor_marks = '[]', row_count = NULL,
                    full_refresh_pending = true, updated_at = now() WHERE uid = %s
                """,
                [destination, entity.uid],
            )
            connection.execute("DELETE FROM absences WHERE entity_uid = %s", [entity.uid])
    return get_entity(database, entity.connector, entity.slug)


def set_cursor(
    database: Database,
    entity: Entity,
    cursor: str | None,
    codec: Codec | None,
) -> None:
    """Put the cursor by hand; None makes the next sync read everything. Marks are forgotten."""
    with database.connect() as connection:
        connection.execute(
            """
            UPDATE entities SET last_rowversion = %s, cursor_codec = coalesce(%s, cursor_codec), cursor_marks = '[]',
                updated_at = now() WHERE uid = %s
            """,
            [cursor, codec, entity.uid],
        )
