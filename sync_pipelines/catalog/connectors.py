"""Rows of `bridge.connectors`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg.types.json import Jsonb

from sync_pipelines.catalog.dagster_storage import storage_schema
from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import NotFoundError, SettingsError, SyncError
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.limits import check_limits
from sync_pipelines.model.names import check_connector_name
from sync_pipelines.network.outbound import agree
from sync_pipelines.secrets import check_reference, printable
from sync_pipelines.settings import load_settings

_FIELDS = (
    "uid, name, base_url, auth_token, target_schema, is_active, settings, destination, destination_settings, "
    "last_discovered_at, last_discovery_error, sync_cron, full_refresh_cron, discovery_cron, time_zone, probe_changes, "
    "kind, declaration, agreed"
)
_SETTABLE = {
    "sync_cron",
    "full_refresh_cron",
    "discovery_cron",
    "time_zone",
    "probe_changes",
    "is_active",
    "settings",
    "agreed",
}
# dlt puts the schema unescaped into connection options and formatted statements.
_UNUSABLE_IN_SCHEMA = re.compile(r"[\s%\\\x00-\x1f]")
_RESERVED_SCHEMAS = ("information_schema", "public_staging")


def check_base_url(base_url: str) -> str:
    """Return the base URL without a trailing slash.

    Raises:
        SettingsError: not http(s), no host, or credentials, query or fragment inside.
    """
    try:
        parts = urlsplit(base_url)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or any(ord(letter) <= 32 for letter in base_url):
        raise SettingsError(
            f"{printable(base_url)!r} is not a base URL: http(s)://host[:port][/path], without query or fragment.",
            state="Nothing was stored.",
        )
    if parts.username or parts.password or "@" in parts.netloc:
        raise SettingsError(
            "A base URL must not hold credentials; give the token as a reference with --token env:NAME.",
            state="Nothing was stored.",
        )
    return base_url.rstrip("/")


def add_connector(
    database: Database,
    name: str,
    base_url: str,
    auth_token: str | None = None,
    *,
    target_schema: str | None = None,
    settings: dict[str, Any] | None = None,
    destination: str | None = None,
    destination_settings: dict[str, Any] | None = None,
    kind: str = "apismith",
    declaration: dict[str, Any] | None = None,
    allow_private: bool = False,
) -> Connector:
    """Register a source, or change the one of that name; entities and cursors stay.

    A destination is for entities that are discovered from now on; `change_destination` moves one that is known. The
    caller speaks for a person who agrees that the secrets go to these addresses; that is recorded.

    Raises:
        SettingsError: a name, URL, reference or schema that cannot be used.
        GuardError: a secret or an address that the settings do not let go, or one that is not public and not named.
    """
    check_connector_name(name)
    schema = target_schema or name
    if (
        schema in (database.bridge_schema, storage_schema(database.bridge_schema))
        or schema.startswith("pg_")
        or schema in _RESERVED_SCHEMAS
        or schema.endswith("_staging")
        or len(schema.encode()) > 55
        or _UNUSABLE_IN_SCHEMA.search(schema)
    ):
        raise SettingsError(
            f"The target schema {schema!r} is reserved, longer than 55 bytes, or has blanks, % or \\.",
            state="Nothing was stored.",
            next_command="choose another with --schema",
        )
    if auth_token is not None:
        check_reference(auth_token)
    check_limits(settings or {})
    with database.connect() as connection:
        known = connection.execute(
            "SELECT kind, declaration IS NULL AS describes_itself, agreed, destination_settings FROM connectors"
            " WHERE name = %s FOR UPDATE",
            [name],
        ).fetchone()
        if known is not None and known["describes_itself"] != (declaration is None):
            raise SettingsError(
                f"{name} is a connector of kind {known['kind']} already.",
                state="Nothing was stored.",
                next_command=f"choose another name, or sync-pipelines connector remove {name}",
            )
        reach = destination_settings
        if reach is None:
            reach = known["destination_settings"] if known else {}
        wanted = Connector(
            uuid4(),
            name,
            check_base_url(base_url),
            auth_token,
            schema,
            destination_settings=reach,
            kind=kind,
            declaration=declaration,
            agreed=known["agreed"] if known else None,
        )
        agreed = agree(wanted, load_settings(), allow_private=allow_private)
        row = connection.execute(
            f"""
            INSERT INTO connectors
                (name, base_url, auth_token, target_schema, settings, destination, destination_settings, kind,
                    declaration, agreed)
            VALUES (%(name)s, %(url)s, %(token)s, %(schema)s, %(settings)s, coalesce(%(destination)s, 'postgres'),
                coalesce(%(reach)s, '{{}}'::jsonb), %(kind)s, %(declaration)s, %(agreed)s)
            ON CONFLICT (name) DO UPDATE SET base_url = excluded.base_url, auth_token = excluded.auth_token,
                settings = excluded.settings, kind = excluded.kind, declaration = excluded.declaration,
                    is_active = true, agreed = excluded.agreed,
                updated_at = now(), destination = coalesce(%(destination)s, connectors.destination),
                destination_settings = coalesce(%(reach)s, connectors.destination_settings)
            RETURNING {_FIELDS}
            """,
            {
                "name": name,
                "url": wanted.base_url,
                "token": auth_token,
                "schema": schema,
                "settings": Jsonb(settings or {}),
                "destination": destination,
                "reach": None if destination_settings is None else Jsonb(destination_settings),
                "kind": kind,
                "declaration": Jsonb(declaration) if declaration else None,
                "agreed": Jsonb(agreed),
            },
        ).fetchone()
    assert row is not None
    if row["target_schema"] != schema and target_schema is not None:
        raise SettingsError(
            f"The connector {name!r} already writes to the schema {row['target_schema']!r}; a move needs a new"
            " connector.",
            state="Address and token were updated, the schema was not.",
        )
    return Connector(**row)


def list_connectors(database: Database) -> list[Connector]:
    """All connectors by name."""
    with database.connect() as connection:
        return [
            Connector(**row)
            for row in connection.execute(f"SELECT {_FIELDS} FROM connectors ORDER BY name")
        ]


def get_connector(database: Database, name: str) -> Connector:
    """The connector of that name.

    Raises:
        NotFoundError: lists those that exist.
    """
    with database.connect() as connection:
        row = connection.execute(
            f"SELECT {_FIELDS} FROM connectors WHERE name = %s", [name]
        ).fetchone()
        known = [
            other["name"]
            for other in connection.execute("SELECT name FROM connectors ORDER BY name LIMIT 20")
        ]
    if row is None:
        raise NotFoundError(
            f"There is no connector {name!r}; known: {', '.join(known) or 'none'}.",
            state="Nothing was changed.",
            next_command="sync-pipelines connector list",
        )
    return Connector(**row)


def change_connector(
    database: Database,
    connector: Connector,
    **changes: Any,
) -> Connector:
    """Change when and how a connector is synced; the values are checked by the caller, limits here.

    Args:
        database: where the catalog is.
        connector: the connector to change.
        changes: any of sync_cron, full_refresh_cron, discovery_cron, time_zone, probe_changes, is_active, settings,
            agreed (of `network.outbound.agree`).

    Raises:
        SettingsError: an unknown name, or limits that a connector cannot have.
    """
    unknown = set(changes) - _SETTABLE
    if unknown:
        raise SettingsError(
            f"Not settable: {', '.join(sorted(unknown))}; settable: {', '.join(sorted(_SETTABLE))}."
        )
    if "settings" in changes:
        check_limits(changes["settings"])
        changes["settings"] = Jsonb(changes["settings"])
    if "agreed" in changes:
        changes["agreed"] = Jsonb(changes["agreed"])
    assignments = ", ".join(f"{name} = %({name})s" for name in sorted(changes))
    if changes:
        with database.connect() as connection:
            # A person's change is a reason to ask a silent source again.
            connection.execute(
                f"UPDATE connectors SET {assignments}, next_probe_at = NULL, updated_at = now() WHERE uid = %(uid)s",
                {**changes, "uid": connector.uid},
            )
    return get_connector(database, connector.name)


def remove_connector(database: Database, name: str) -> int:
    """Forget a connector with its entities, runs and quarantine; returns the number of entities.

    The target tables stay as they are: nothing here drops data.

    Raises:
        NotFoundError: no such connector.
    """
    connector = get_connector(database, name)
    with database.connect() as connection:
        count = connection.execute(
            "SELECT count(*) AS n FROM entities WHERE connector_uid = %s", [connector.uid]
        ).fetchone()
        connection.execute("DELETE FROM connectors WHERE uid = %s", [connector.uid])
    assert count is not None
    return int(count["n"])


def stored_declaration(
    connection: psycopg.Connection[Any],
    connector: Connector,
    *,
    locked: bool = False,
) -> dict[str, Any] | None:
    """The declaration as it is now.

    None where there is none. With `locked` nobody changes it before the caller's transaction ends.
    """
    row = connection.execute(
        f"SELECT declaration FROM connectors WHERE uid = %s{' FOR UPDATE' if locked else ''}",
        [connector.uid],
    ).fetchone()
    return None if row is None else row["declaration"]


def update_declaration(
    connection: psycopg.Connection[Any],
    connector: Connector,
    before: dict[str, Any] | None,
    declaration: dict[str, Any],
) -> None:
    """Take over what an OpenAPI document says now.

    Nothing happens where it is as before, or no longer what it was `before`.
    """
    connection.execute(
        "UPDATE connectors SET declaration = %s, updated_at = now() WHERE uid = %s AND declaration = %s"
        " AND declaration <> %s",
        [Jsonb(declaration), connector.uid, Jsonb(before), Jsonb(declaration)],
    )


def record_discovery(
    database: Database,
    connector: Connector,
    error: SyncError | None,
) -> None:
    """Remember when a discovery last worked, or when and why it did not."""
    with database.connect() as connection:
        if error is None:
            connection.execute(
                """
                UPDATE connectors SET last_discovered_at = now(), last_discovery_error = NULL,
                    last_discovery_error_code = NULL, last_discovery_error_category = NULL,
                    last_discovery_error_status = NULL, last_discovery_error_answered = NULL,
                    updated_at = now() WHERE uid = %s
                """,
                [connector.uid],
            )
            return
        connection.execute(
            """
            UPDATE connectors SET last_discovery_failed_at = now(), last_discovery_error = %s,
                last_discovery_error_code = %s, last_discovery_error_category = %s,
                last_discovery_error_status = %s, last_discovery_error_answered = %s, updated_at = now() WHERE uid = %s
            """,
            [
                str(error),
                error.code,
                str(error.category),
                error.status,
                error.answered,
                connector.uid,
            ],
        )
