"""Connections to PostgreSQL: the embedded server or a named one, and what its errors mean."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, TupleRow, dict_row, tuple_row

from sync_pipelines.catalog.pool import POOL, Session
from sync_pipelines.catalog.session_options import late_patience, session_url
from sync_pipelines.catalog.tls import WAY_OUT, is_tls_trouble, with_verified_tls
from sync_pipelines.errors import (
    ConfigurationError,
    DatabaseConnectionsError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    SyncError,
)
from sync_pipelines.postgres_server.embedded import embedded_url
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings, load_settings

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 10
_VERSIONS = Path(__file__).parent / "migrations" / "versions"
_RETRIABLE_CLASSES = ("08", "40", "53", "57", "58")
_RETRIABLE_STATES = {"55P03", "25P03"}
_TOO_MANY_CONNECTIONS = "53300"
# A refused connection carries no SQLSTATE, only the server's words.
_EXHAUSTED = re.compile(
    r"too many (clients|connections)|remaining connection slots|max_client_conn|pool(er)?\b.*(timeout|timed"
    r" out|exhausted)"
    r"|couldn't get a connection",
    re.IGNORECASE,
)


# By address, from the first connection on; some settings are known to newer servers only.
_server_versions: dict[str, int] = {}


@dataclass(frozen=True)
class Database:
    """Where the bridge schema and the PostgreSQL targets are.

    Attributes:
        url: libpq URL with password; never shown.
        bridge_schema: name of the schema that holds the catalog.
        kept_connections: how many idle connections this process keeps at most.
    """

    url: str
    bridge_schema: str = "bridge"
    kept_connections: int = 4

    def __repr__(self) -> str:
        return f"Database({self.location})"

    @property
    def location(self) -> str:
        """Host and database without user or password, for messages and metadata."""
        info = psycopg.conninfo.conninfo_to_dict(self.url)
        host = str(info.get("host", "localhost"))
        return f"{'embedded' if host.startswith('/') else host}/{info.get('dbname', 'postgres')}"

    @property
    def name(self) -> str:
        """Name of the database."""
        return str(psycopg.conninfo.conninfo_to_dict(self.url).get("dbname", "postgres"))

    def session_url(self, search_path: str | None = None) -> str:
        """The address with our settings for the session, for a connection that is opened elsewhere.

        See `catalog.session_options`.
        """
        return session_url(
            self.url,
            search_path,
            server_version=_server_versions.get(self.url, 0),
        )

    @contextmanager
    def connect(
        self,
        *,
        autocommit: bool = False,
        alone: bool = False,
    ) -> Iterator[psycopg.Connection[DictRow]]:
        """A connection whose search path is the bridge schema; committed on leaving, rolled back on an error.

        Args:
            autocommit: each statement is a transaction.
            alone: open one and close it, where a lock lives as long as the session; otherwise the pool of the process
                lends one and takes it back.

        Raises:
            DatabaseUnavailableError: the server cannot be reached or the failure passes.
            DatabaseRefusedError: it refused for good.
        """
        try:
            session = self._opened() if alone else POOL.take(self._address, self._opened)
            try:
                session.autocommit = autocommit
                with _transaction(session) as connection:
                    yield connection
            finally:
                POOL.give(
                    self._address,
                    session,
                    0 if alone else self.kept_connections,
                )
        except psycopg.Error as error:
            raise classify_database_error(error) from error

    @contextmanager
    def cursor(self) -> Iterator[psycopg.Cursor[TupleRow]]:
        """A cursor with rows as tuples, in a transaction; as `connect`."""
        with self.connect() as connection, connection.cursor(row_factory=tuple_row) as cursor:
            yield cursor

    def borrow(self, search_path: str = "public") -> psycopg.Connection[TupleRow]:
        """A connection for a user that closes it itself, once; closing gives it back to the pool.

        Args:
            search_path: schemas by comma; `public` is where functions of triggers may look for their tables.

        Raises:
            psycopg.Error: as PostgreSQL says it; see `classified_errors`.
        """
        session = POOL.take(self._address, self._opened)
        session.lend(lambda: POOL.give(self._address, session, self.kept_connections))
        try:
            session.execute("SELECT set_config('search_path', %s, false)", [search_path])
        except BaseException:
            session.close()
            raise
        session.autocommit = False
        session.row_factory = tuple_row
        return session

    @property
    def _address(self) -> str:
        return f"{self.url} {self.bridge_schema}"

    def _opened(self) -> Session:
        knew_version = self.url in _server_versions
        session = Session.connect(
            self.session_url(f"{self.bridge_schema},public"),
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="sync_pipelines",
            # The driver would go on using statements that it prepared for an earlier user of the connection.
            prepare_threshold=None,
        )
        session.opened_at = time.monotonic()
        _server_versions[self.url] = session.info.server_version
        if not knew_version and (late := late_patience(self.url, session.info.server_version)):
            session.late_settings = late
            session.execute(late)
        return session

    @property
    def bridge(self) -> sql.Identifier:
        """The bridge schema as an identifier."""
        return sql.Identifier(self.bridge_schema)


@contextmanager
def _transaction(connection: psycopg.Connection[DictRow]) -> Iterator[psycopg.Connection[DictRow]]:
    """Commit on leaving, roll back on an error; a connection that something else interrupts is closed."""
    try:
        yield connection
    except Exception:
        if not connection.closed:
            try:
                connection.rollback()
            except psycopg.Error as error:
                logger.debug("the connection that failed cannot be rolled back: %s", error)
        raise
    except BaseException:
        # A statement may be under way, and nobody is going to read its answer.
        connection.close()
        raise
    if not connection.closed:
        connection.commit()


def open_database(settings: Settings | None = None) -> Database:
    """The database of the settings; starts the embedded server when no other is named."""
    settings = settings or load_settings()
    if settings.database.embedded:
        url = embedded_url(settings.home / "postgres")
    else:
        url = with_verified_tls(
            settings.database.server_url(), rootcert=settings.database.postgres_sslrootcert
        )
    return Database(
        url, settings.database.postgres_schema, settings.database.postgres_kept_connections
    )


@contextmanager
def classified_errors() -> Iterator[None]:
    """Translate errors of psycopg into ours; see `classify_database_error`."""
    try:
        yield
    except psycopg.Error as error:
        raise classify_database_error(error) from error


def classify_database_error(error: Any) -> SyncError:
    """Translate an error of psycopg into one of ours, by its SQLSTATE.

    Connection, deadlock, serialization, resource and operator trouble (classes 08, 40, 53, 57, 58) passes; privilege,
    read-only, missing or altered objects do not.
    """
    state = getattr(error, "sqlstate", None)
    whole = str(error).strip()
    message = printable(whole.split("\n")[0], 300)
    if state == _TOO_MANY_CONNECTIONS or (state is None and _EXHAUSTED.search(whole)):
        return DatabaseConnectionsError(
            f"PostgreSQL has no connection left: {message}",
            next_command="SELECT application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2",
        )
    if state is None and _is_connection_trouble(error):
        if "password authentication failed" in message or "no password supplied" in message:
            return DatabaseRefusedError(
                f"PostgreSQL refused the login: {message}", next_command="sync-pipelines doctor"
            )
        if is_tls_trouble(whole):
            return DatabaseRefusedError(
                f"PostgreSQL is not spoken to without a certificate that holds: {message}",
                next_command=WAY_OUT,
            )
        return DatabaseUnavailableError(
            f"PostgreSQL cannot be reached: {message}", next_command="sync-pipelines doctor"
        )
    if state is not None and (state[:2] in _RETRIABLE_CLASSES or state in _RETRIABLE_STATES):
        return DatabaseUnavailableError(f"PostgreSQL failed for now ({state}): {message}")
    return DatabaseRefusedError(
        f"PostgreSQL refused ({state or 'no state'}): {message}{_depending(error)}",
        next_command=_way_out(state, message),
    )


# Their details name objects; those of other errors quote values.
_NAMING_STATES = ("2B", "0A", "42")


def _depending(error: Any) -> str:
    detail = getattr(getattr(error, "diag", None), "message_detail", None)
    return (
        f" ({printable(detail, 500)})"
        if detail and str(getattr(error, "sqlstate", None))[:2] in _NAMING_STATES
        else ""
    )


def _way_out(state: str | None, message: str) -> str | None:
    if state == "0A000" and "generated column" in message:
        return "ALTER TABLE … DROP COLUMN that generated column, then the same again; add it anew afterwards"
    if state == "42501" and "row-level security" in message:
        return (
            "ALTER ROLE … BYPASSRLS for our role, or ALTER TABLE … NO FORCE ROW LEVEL SECURITY, or DISABLE it;"
            " a policy must not hide rows from us"
        )
    if state == "42501":
        return (
            "the same command as the owner of the tables (POSTGRES_USER), or GRANT owner TO our role;"
            " docs/operations.md, Database roles"
        )
    return None


def _is_connection_trouble(error: Any) -> bool:
    return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))


def clock(database: Database) -> datetime:
    """The moment by the clock of the database, which every moment in the catalog comes from."""
    with database.connect() as connection:
        row = connection.execute("SELECT now() AS now").fetchone()
    assert row is not None
    moment: datetime = row["now"]
    return moment


def require_catalog(database: Database) -> None:
    """Make sure that the bridge schema is there, and not older than this program.

    Raises:
        ConfigurationError: names the command that creates or upgrades it.
    """
    newest = max(path.name[:4] for path in _VERSIONS.glob("[0-9]*.py"))
    with database.connect() as connection:
        row = connection.execute(
            "SELECT to_regclass(%s) AS found", [f'"{database.bridge_schema}".entities']
        ).fetchone()
        is_there = row is not None and row["found"] is not None
        row = (
            connection.execute("SELECT max(version_num) AS version FROM alembic_version").fetchone()
            if is_there
            else None
        )
    if row is not None and row["version"] is not None and row["version"] >= newest:
        return
    what = (
        "holds no catalog yet"
        if row is None
        else f"holds a catalog of the older version {row['version']}, where this program needs {newest}"
    )
    raise ConfigurationError(
        f"The schema {database.bridge_schema!r} {what}.",
        where={"database": database.location},
        state="Nothing was changed.",
        next_command="sync-pipelines doctor --migrate",
    )
