"""Definitions of many entities as a task: what a code server, and every run, pays before it can work."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from psycopg.types.json import Jsonb

from benchmarks.measure import Place, measured
from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.migrate import migrate

COLUMNS = 20
_TYPES = ("VARCHAR(50)", "NUMERIC(12, 3)", "TIMESTAMP", "INTEGER", "BOOLEAN")


def prepare(place: Place) -> dict[str, Any]:
    """Fill the catalog with `place.rows` entities of 20 columns; nothing else is needed to load definitions."""
    database = Database(place.database_url)
    migrate(database)
    connector = add_connector(database, "bench", place.source_url)
    columns = [
        {
            "name": f"column_{number:02}",
            "data_type": _TYPES[number % 5],
            "is_nullable": number > 0,
            "is_business_key": number == 0,
        }
        for number in range(COLUMNS)
    ]
    with database.connect() as connection:
        connection.execute(
            """
            INSERT INTO entities (connector_uid, slug, api_name, description, delta_strategy, business_keys,
                target_schema,
                target_table, columns)
            SELECT %s, 'entity_' || lpad(n::text, 5, '0'), 'Entity ' || n, 'One of many.', 'rowversion', %s, 'bench',
                'entity_' || lpad(n::text, 5, '0'), %s FROM generate_series(1, %s) n
            """,
            [connector.uid, Jsonb(["column_00"]), Jsonb(columns), place.rows],
        )
    return {}


def load(place: Place) -> dict[str, Any]:
    """Import the definitions, Dagster included; with the option `snapshot` also make what the web server asks for.

    Without it this is what every run pays, with it what a code server pays on start and on each reload.
    """
    with tempfile.TemporaryDirectory() as home, measured(place) as found:
        os.environ |= {
            "POSTGRES_URL": place.database_url,
            "SYNC_PIPELINES_HOME": home,
            # The entities alone are measured: a SQL model of the working folder is one more asset.
            "SYNC_PIPELINES_MODELS": home,
        }
        from dagster._core.remote_representation.external_data import RepositorySnap
        from dagster._serdes import serialize_value

        from sync_pipelines.definitions import defs

        repository = defs.get_repository_def()
        found["fetched"] = len(repository.asset_graph.materializable_asset_keys)
        if place.options["snapshot"]:
            snapshot = RepositorySnap.from_def(repository, defer_snapshots=True)
            found["snapshot_mb"] = len(serialize_value(snapshot)) / 1e6
    return found
