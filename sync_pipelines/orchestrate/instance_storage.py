"""Where Dagster keeps runs, events, logs and artifacts: named by dagster.yaml, chosen by the environment.

dagster.yaml cannot do it alone: ``{env: X}`` has no fallback, and a relative path is relative to the working directory
of whichever process reads it. So the classes here take no configuration and look at the environment when loaded:

==============================  ========================================================================
`SYNC_PIPELINES_DAGSTER_URL`    a URL: runs, events and ticks in that PostgreSQL; ``catalog``: in the
                                catalog's own database, embedded or named; ``sqlite``: SQLite files;
                                unset: in the catalog's database when it has Dagster's tables, as it
                                has after `sync-pipelines up` or `migrate`, else SQLite files
`DAGSTER_HOME`                  all files under its ``.dagster/``; unset: under the working directory's
==============================  ========================================================================
"""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from sync_pipelines.catalog.dagster_storage import (
    create_storage_schema,
    storage_schema,
    storage_url,
)
from sync_pipelines.catalog.database import open_database
from sync_pipelines.catalog.tls import with_verified_tls
from sync_pipelines.logs import set_up_dagster_logging
from sync_pipelines.settings import load_settings

if t.TYPE_CHECKING:
    from collections.abc import Mapping

URL_VARIABLE = "SYNC_PIPELINES_DAGSTER_URL"
HOME_VARIABLE = "DAGSTER_HOME"
CATALOG = "catalog"
SQLITE = "sqlite"

_POSTGRES_SCHEME = re.compile(r"^postgres(?:ql)?(?:\+\w+)?://")


def files_directory() -> Path:
    """Return the directory of all of Dagster's files: ``.dagster`` under DAGSTER_HOME, else the working directory."""
    home = Path(os.environ.get(HOME_VARIABLE) or Path.cwd())
    return home.expanduser().resolve() / ".dagster"


def psycopg2_url(url: str) -> str:
    """Return a PostgreSQL URL that names the driver dagster-postgres is written for.

    Since SQLAlchemy 2.1 a bare ``postgresql://`` means psycopg 3, and with that driver the first event written fails
    (``syntax error at or near "$1"`` on NOTIFY), although ``dagster instance info`` still passes.
    """
    rewritten, count = _POSTGRES_SCHEME.subn(
        "postgresql+psycopg2://",
        url.strip(),
        count=1,
    )
    if not count:  # the URL is not repeated: it may hold a password
        raise ValueError(
            f"{URL_VARIABLE} must start with postgresql:// or postgres://, or be {CATALOG!r} or {SQLITE!r}."
        )
    return rewritten


def catalog_url() -> str:
    """Return the URL of Dagster's schema in the catalog's database, which is made when it is missing."""
    database = open_database()
    create_storage_schema(database)
    return storage_url(database)


def catalog_has_storage() -> bool:
    """Return whether `up` or `migrate` made Dagster's tables beside the catalog, so that whatever runs by hand is shown
    there, too.

    Raises:
        SyncError: the database is named and does not answer, so that it is not known.
    """
    settings = load_settings()
    server_version = settings.home / "postgres" / "PG_VERSION"
    if settings.database.embedded and not server_version.exists():
        return False
    database = open_database(settings)
    with database.connect() as connection:
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = %s AND tablename = 'runs') AS found",
            [storage_schema(database.bridge_schema)],
        ).fetchone()
    return bool(row and row["found"])


def named_url(url: str) -> str:
    """Return the URL of a server that the environment names, with verified TLS unless it says otherwise."""
    return with_verified_tls(url, rootcert=load_settings().database.postgres_sslrootcert)


class EnvSelectedStorage(DagsterStorage, ConfigurableClass):
    """PostgreSQL when SYNC_PIPELINES_DAGSTER_URL names one, else SQLite; never itself an instance."""

    @classmethod
    def config_type(cls) -> dict[str, t.Any]:
        """Return the configuration taken in dagster.yaml: none."""
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]  # the environment decides on the class
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, t.Any],
    ) -> DagsterStorage:
        """Return the storage the environment asks for."""
        set_up_dagster_logging(load_settings())  # each process of Dagster comes by here
        url = os.environ.get(URL_VARIABLE, "").strip()
        if not url:
            url = CATALOG if catalog_has_storage() else SQLITE
        if url == SQLITE:
            return DagsterSqliteStorage.from_local(str(files_directory()), inst_data=inst_data)
        # 0.2 s that SQLite users need not wait.
        from dagster_postgres import DagsterPostgresStorage

        address = catalog_url() if url == CATALOG else named_url(url)
        return DagsterPostgresStorage(psycopg2_url(address), inst_data=inst_data)


class HomeArtifactStorage(LocalArtifactStorage):
    """Artifacts, file uploads and component state in ``.dagster/``."""

    @classmethod
    def config_type(cls) -> dict[str, t.Any]:
        """Return the configuration taken in dagster.yaml: none."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, t.Any],
    ) -> t.Self:
        """Return the storage for the current DAGSTER_HOME."""
        return cls(str(files_directory()), inst_data)


class HomeComputeLogManager(LocalComputeLogManager):
    """Captured stdout and stderr of runs in ``.dagster/compute_logs``."""

    @classmethod
    def config_type(cls) -> dict[str, t.Any]:
        """Return the configuration taken in dagster.yaml: none."""
        return {}

    @classmethod
    def from_config_value(
        cls,
        inst_data: ConfigurableClassData | None,
        config_value: Mapping[str, t.Any],
    ) -> t.Self:
        """Return the manager for the current DAGSTER_HOME."""
        return cls(str(files_directory() / "compute_logs"), inst_data=inst_data)
