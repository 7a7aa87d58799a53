"""Statements to one Trino, its errors translated, and a MERGE whose answer was lost looked up instead of guessed."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import requests
import trino
from trino.exceptions import (
    Error,
    TrinoAuthError,
    TrinoConnectionError,
    TrinoQueryError,
    TrinoUserError,
)

from sync_pipelines.destinations.trino.options import SOURCE, TrinoOptions, pairs
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.errors import (
    AuthenticationError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    SettingsError,
    SyncError,
)
from sync_pipelines.model.quoting import literal
from sync_pipelines.secrets import printable

logger = logging.getLogger(__name__)

_READ_PAUSES_SECONDS = (0.2, 1.0)
_VERIFY = {"true": True, "false": False}
CONFLICTS = frozenset({"ICEBERG_COMMIT_ERROR", "TRANSACTION_CONFLICT"})
# The coordinator or a worker went away, or is only just starting.
PASSING = frozenset(
    {
        "NO_NODES_AVAILABLE",
        "SERVER_SHUTTING_DOWN",
        "SERVER_STARTING_UP",
        "REMOTE_TASK_ERROR",
        "REMOTE_HOST_GONE",
    }
    | {
        "PAGE_TRANSPORT_ERROR",
        "PAGE_TRANSPORT_TIMEOUT",
        "REMOTE_TASK_MISMATCH",
        "ABANDONED_QUERY",
        "ABANDONED_TASK",
    }
    | {
        "CLUSTER_OUT_OF_MEMORY",
        "EXCEEDED_GLOBAL_MEMORY_LIMIT",
        "QUERY_QUEUE_FULL",
        "TOO_MANY_REQUESTS_FAILED",
    }
    | {
        "ADMINISTRATIVELY_KILLED",
        "ADMINISTRATIVELY_PREEMPTED",
        "HIVE_METASTORE_ERROR",
        "ICEBERG_CATALOG_ERROR",
    }
)


@dataclass(frozen=True)
class Answer:
    """What a statement gave: rows, and for a write the number of rows that Trino says it wrote."""

    rows: list[list[Any]]
    query_id: str
    written: int


class LostAnswerError(DatabaseUnavailableError):
    """The connection broke while a statement ran: no answer says how it ended."""

    def __init__(self, what: str, query_id: str | None) -> None:
        super().__init__(
            what,
            state="Whether the statement took effect is looked up by its query id.",
        )
        self.query_id = query_id


class QueryFailedError(DatabaseUnavailableError):
    """Trino ended the statement for a reason that passes; `name` is its error name."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(what)
        self.name = name


class Session:
    """Statements under one set of options; a connection each, since Trino has no sessions to keep."""

    def __init__(self, options: TrinoOptions) -> None:
        self.options = options
        self._properties = pairs(options.session_properties, "session_properties")

    def __repr__(self) -> str:
        return f"Session({self.options.location})"

    def connection(self) -> trino.dbapi.Connection:
        """A connection of the trino client; nothing is sent yet."""
        options = self.options
        tags = [tag.strip() for tag in options.client_tags.split(",")]
        connection: trino.dbapi.Connection = trino.dbapi.connect(
            host=options.host,
            port=options.port,
            user=options.user,
            catalog=options.catalog,
            source=SOURCE,
            http_scheme=options.effective_scheme,
            auth=_authentication(options),
            verify=_VERIFY.get(options.verify.lower(), options.verify),
            roles=pairs(options.roles, "roles") or None,
            client_tags=list(filter(None, tags)),
            session_properties=dict(self._properties),
            # Never send a statement twice on our own: after a lost answer it may already run.
            max_attempts=1,
            request_timeout=options.request_timeout_seconds,
            timezone="UTC",
        )
        return connection

    def set_property(self, name: str, value: str) -> None:
        """Set a session property for all statements to come, unless the options set it."""
        self._properties.setdefault(name, value)

    def execute(self, statement: str) -> Answer:
        """Run a statement to its end.

        Raises:
            LostAnswerError: the connection broke.
            QueryFailedError: Trino failed for now.
            DatabaseRefusedError: it refused for good.
            AuthenticationError: it refused the login.
        """
        cursor = self.connection().cursor()
        try:
            cursor.execute(statement)
            rows = cursor.fetchall()
        except (TrinoConnectionError, requests.RequestException) as error:
            raise LostAnswerError(
                f"Trino at {self.options.location} cannot be reached: {_short(error)}",
                _query_id(cursor),
            ) from error
        except (Error, trino.exceptions.HttpError) as error:
            raise self._translated(error, _query_id(cursor)) from error
        written = _written(rows) if cursor.update_type else 0
        return Answer(rows, cursor.query_id or "", written)

    def query(self, statement: str) -> list[list[Any]]:
        """The rows of a query, which is asked again when the connection breaks or Trino fails for now."""
        for pause_seconds in _READ_PAUSES_SECONDS:
            try:
                return self.execute(statement).rows
            except (LostAnswerError, QueryFailedError) as error:
                logger.info("asked again: %s", error.what)
                time.sleep(pause_seconds)
        return self.execute(statement).rows

    def number(self, statement: str) -> int:
        """The single number of a query."""
        return int(self.query(statement)[0][0])

    def _translated(self, error: Exception, query_id: str | None) -> SyncError:
        where = {"trino": self.options.location}
        if (
            isinstance(error, TrinoAuthError)
            or "error 401" in str(error)
            or "error 403" in str(error)
        ):
            return AuthenticationError(f"Trino refused the login: {_short(error)}", where=where)
        if not isinstance(error, TrinoQueryError):
            return LostAnswerError(f"Trino failed: {_short(error)}", query_id)
        name, message = error.error_name or "", printable(error.message, 500)
        if name in CONFLICTS or name in PASSING or error.error_type == "INSUFFICIENT_RESOURCES":
            return QueryFailedError(f"Trino failed for now ({name}): {message}", name)
        if isinstance(error, TrinoUserError) or error.error_type == "USER_ERROR":
            return DatabaseRefusedError(
                f"Trino refused ({name}): {message}",
                where={**where, "query": error.query_id},
            )
        return QueryFailedError(f"Trino failed ({name}): {message}", name)


def _query_id(cursor: Any) -> str | None:
    """The id of a query that failed, as far as the client knows it."""
    query = getattr(cursor, "_query", None)
    return getattr(query, "query_id", None)


def _written(rows: list[list[Any]]) -> int:
    """The number of rows that a write answers; 0 where it answers none."""
    if not rows or not rows[0]:
        return 0
    number = rows[0][0]
    return number if isinstance(number, int) else 0


def _authentication(options: TrinoOptions) -> trino.auth.Authentication | None:
    if options.password is not None:
        password = options.password.get_secret_value()
        return trino.auth.BasicAuthentication(options.user, password)
    if options.access_token is not None:
        return trino.auth.JWTAuthentication(options.access_token.get_secret_value())
    if options.certificate is not None and options.certificate_key is not None:
        return trino.auth.CertificateAuthentication(
            str(options.certificate),
            str(options.certificate_key),
        )
    return None


# What does not change while a coordinator runs, asked once per process: connectors of catalogs, known properties.
_connectors: dict[str, str] = {}
_guarded: dict[str, bool] = {}


def connector_of(session: Session, catalog: str) -> str:
    """The connector behind a catalog: iceberg, hive, …

    Raises:
        SettingsError: there is no such catalog; lists those that are.
    """
    place = session.options.location
    if place not in _connectors:
        _connectors[place] = _connector_of(session, catalog)
    return _connectors[place]


def _connector_of(session: Session, catalog: str) -> str:
    rows = session.query(
        "SELECT catalog_name, connector_name FROM system.metadata.catalogs ORDER BY 1"
    )
    found = {name: connector for name, connector in rows}
    if catalog.lower() not in found:
        raise SettingsError(
            f"Trino at {session.options.location} has no catalog {catalog!r}; it has: {', '.join(found)}.",
            next_command="set TRINO_CATALOG",
        )
    return str(found[catalog.lower()])


def create_schema(session: Session, catalog: str, schema: str) -> None:
    """Create a schema unless it is there; IF NOT EXISTS alone fails when two create it at once."""
    try:
        session.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(catalog, schema)}")
    except DatabaseRefusedError:
        if [schema.lower()] not in session.query(f"SHOW SCHEMAS FROM {quote(catalog)}"):
            raise


def running_queries(session: Session, marker: str) -> list[str]:
    """Ids of unfinished statements of ours whose text carries `marker`."""
    rows = session.query(
        "SELECT query_id FROM system.runtime.queries WHERE state NOT IN ('FINISHED', 'FAILED')"
        f" AND source = {literal(SOURCE)} AND strpos(query, {literal(marker)}) > 0 AND strpos(query,"
        " 'system.runtime') = 0"
    )
    return [row[0] for row in rows]


def query_state(session: Session, query_id: str) -> str | None:
    """FINISHED, FAILED, or what a running query does; None when the coordinator does not know it (any more)."""
    rows = session.query(
        f"SELECT state FROM system.runtime.queries WHERE query_id = {literal(query_id)}"
    )
    return rows[0][0] if rows else None


def kill_query(session: Session, query_id: str, reason: str) -> None:
    """End a running query; it may just have ended by itself."""
    try:
        session.query(
            f"CALL system.runtime.kill_query(query_id => {literal(query_id)}, message => {literal(reason)})"
        )
    except DatabaseRefusedError as error:
        logger.info("query %s was not killed: %s", query_id, error)


def tune(session: Session, catalog: str) -> None:
    """Session properties that the promise rests on.

    trinodb/trino#31072: with conflict detection by file, two merges on a partitioned table may both insert one key.
    """
    name, place = f"{catalog}.file_based_conflict_detection_enabled", session.options.location
    if place not in _guarded:
        _guarded[place] = bool(session.query(f"SHOW SESSION LIKE {literal(name)}"))
    if _guarded[place]:
        session.set_property(name, "false")


def _short(error: Exception) -> str:
    return printable(str(error), 300)
