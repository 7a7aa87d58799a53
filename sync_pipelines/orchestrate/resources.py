"""What the ops need from outside: settings and the database."""

from __future__ import annotations

import dagster as dg

from sync_pipelines.catalog.database import Database, open_database, require_catalog
from sync_pipelines.settings import Settings, load_settings

_known: set[Database] = set()


class Bridge(dg.ConfigurableResource[None]):
    """The catalog's database, opened at use from the environment's settings."""

    def settings(self) -> Settings:
        """The process settings."""
        return load_settings()

    def database(self) -> Database:
        """The database of the settings, with a catalog of this version; looked for until it was found once.

        Raises:
            SyncError: it does not answer, or has no such catalog.
        """
        database = open_database(self.settings())
        if database not in _known:
            require_catalog(database)
            _known.add(database)
        return database
