"""Open the catalog of the settings: as it is, or brought up to date."""

from __future__ import annotations

from sync_pipelines.catalog.database import Database, open_database, require_catalog
from sync_pipelines.catalog.fingerprints import learn_secrets
from sync_pipelines.catalog.migrate import migrate
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.settings import Settings


def open_catalog(settings: Settings) -> Database:
    """The database with its catalog.

    Raises:
        ConfigurationError: there is none yet; names the command that makes one.
    """
    if settings.database.embedded and not (settings.home / "postgres" / "PG_VERSION").exists():
        demo = settings.home / "demo"
        hint = (
            f" (the demo's is there: export SYNC_PIPELINES_HOME={demo})"
            if (demo / "postgres").exists()
            else ""
        )
        raise ConfigurationError(
            f"There is no database in {settings.home / 'postgres'} yet{hint}.",
            state="Nothing was changed.",
            next_command="sync-pipelines doctor --migrate",
        )
    database = open_database(settings)
    require_catalog(database)
    learn_secrets(database, settings)
    return database


def open_migrated(settings: Settings) -> Database:
    """The database with its catalog, created or upgraded where needed."""
    # Alembic and SQLAlchemy take a quarter of a second, and few commands migrate.

    database = open_database(settings)
    migrate(database)
    learn_secrets(database, settings)
    return database
