"""What the ops need from outside: settings and the database."""

from __future__ import annotations

import dagster as dg

from sync_pipelines.catalog.database import Database, open_database
from sync_pipelines.settings import Settings, load_settings


class Bridge(dg.ConfigurableResource):
    """The catalog's database, opened at use from the environment's settings."""

    def settings(self) -> Settings:
        """The process settings."""
        return load_settings()

    def database(self) -> Database:
        """The database of the settings."""
        return open_database(self.settings())
