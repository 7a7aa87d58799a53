"""Create and upgrade the bridge schema with alembic."""

from __future__ import annotations

import logging
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import create_engine, pool
from sqlalchemy.exc import DBAPIError

from sync_pipelines.catalog.database import Database, classify_database_error
from sync_pipelines.catalog.session_options import ensure_schema

_LOCK = "sync_pipelines:migrate"


def migrate(database: Database) -> None:
    """Bring the bridge schema to the newest version; safe to call from many processes at once.

    Raises:
        DatabaseUnavailableError, DatabaseRefusedError: from PostgreSQL.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database.session_url()),
        poolclass=pool.NullPool,
    )
    try:
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [_LOCK])
            ensure_schema(driver, database.bridge_schema)
            driver.execute(sql.SQL("SET LOCAL search_path TO {}").format(database.bridge))
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            config.attributes["bridge_schema"] = database.bridge_schema
            command.upgrade(config, "head")
            connection.commit()
    except psycopg.Error as error:
        raise classify_database_error(error) from error
    except (
        DBAPIError
    ) as error:  # what the driver raised while SQLAlchemy connected or alembic worked
        if not isinstance(error.orig, psycopg.Error):
            raise
        raise classify_database_error(error.orig) from error
    finally:
        engine.dispose()
