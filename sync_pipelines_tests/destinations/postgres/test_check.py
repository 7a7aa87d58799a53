"""A destination says whether it can be written to; of PostgreSQL that is the schema of the tables."""

from __future__ import annotations

import psycopg
import pytest

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.rights import check_schema
from sync_pipelines.destinations.postgres.adapter import PostgresDestination
from sync_pipelines.errors import ConfigurationError


def test_a_schema_that_can_be_made_passes_and_one_that_is_there_passes(database: Database) -> None:
    destination = PostgresDestination(database)
    assert destination.check("erp").startswith("schema erp can be created in ")
    with database.connect() as connection:
        connection.execute("CREATE SCHEMA erp")
    assert destination.check("erp").startswith("schema erp exists in ")


@pytest.mark.parametrize(
    ("schema", "message", "grant"),
    [
        ("absent", "may not create the schema absent", "GRANT CREATE ON DATABASE"),
        ("bridge", "may not write to the schema bridge", "GRANT CREATE ON SCHEMA bridge"),
    ],
)
def test_a_role_without_rights_is_refused_with_the_grant(
    database: Database, schema: str, message: str, grant: str
) -> None:
    with psycopg.connect(database.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE ROLE nobody_at_all NOLOGIN")
        cursor.execute("SET LOCAL ROLE nobody_at_all")
        with pytest.raises(ConfigurationError, match=message) as refused:
            check_schema(cursor, schema)
        connection.rollback()
    assert (refused.value.next_command or "").startswith(grant)
