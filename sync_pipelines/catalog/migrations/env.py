"""Alembic environment: runs on the connection that `catalog.migrate` opened, inside its transaction."""

from alembic import context

config = context.config
connection = config.attributes["connection"]
context.configure(
    connection=connection,
    version_table="alembic_version",
    version_table_schema=config.attributes["bridge_schema"],
    transaction_per_migration=False,
)
context.run_migrations()
