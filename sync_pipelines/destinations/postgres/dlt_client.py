"""dlt's postgres destination with our publish step in the place where dlt makes a load visible.

dlt publishes a load by inserting its row into `_dlt_loads` (`complete_load`). Everything that a run changes happens in
that transaction; killed before COMMIT nothing happened, killed after it the load id is found and nothing is done twice.
The seams used here are semi-internal: dlt is pinned and `destinations/postgres/test_destination_contract.py` guards
them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psycopg2
import psycopg2.extensions
from dlt.common.configuration import configspec
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.client import HasFollowupJobs, LoadJob, PreparedTableSchema, RunnableLoadJob
from dlt.common.schema.typing import TSchemaTables
from dlt.common.typing import TSecretStrValue
from dlt.destinations.exceptions import DatabaseTerminalException
from dlt.destinations.impl.postgres.configuration import PostgresCredentials
from dlt.destinations.impl.postgres.factory import postgres
from dlt.destinations.impl.postgres.postgres import PostgresClient

from sync_pipelines.books.publish_plan import PublishPlan, plan_of
from sync_pipelines.catalog.session_options import has_schema
from sync_pipelines.destinations.postgres.copy import copy_parquet, copy_refusing
from sync_pipelines.destinations.postgres.publish import KeyTwiceError, publish

logger = logging.getLogger(__name__)


@configspec(init=False)
class LibpqCredentials(PostgresCredentials):
    """Credentials that pass any libpq URL on as it is: sockets, several hosts, certificates."""

    conninfo: TSecretStrValue = None  # type: ignore[assignment]

    @classmethod
    def of(cls, url: str) -> LibpqCredentials:
        """Credentials of a libpq URL."""
        info = psycopg2.extensions.parse_dsn(url)
        credentials = cls()
        credentials.conninfo = url
        credentials.host = info.get("host", "localhost")
        credentials.database = info.get("dbname", "postgres")
        credentials.username = info.get("user", "postgres")
        credentials.password = info.get("password") or "unused"
        credentials.resolve()
        return credentials

    def get_query(self) -> dict[str, str]:
        """The options of the URL, to which dlt adds its search path."""
        return {"options": psycopg2.extensions.parse_dsn(self.conninfo).get("options", "")}

    def to_native_representation(self) -> str:
        """The URL as given."""
        return self.conninfo


class CopyJob(RunnableLoadJob, HasFollowupJobs):
    """Loads one Parquet file into its staging table."""

    def __init__(self, file_path: str) -> None:
        super().__init__(file_path)
        self._job_client: BridgePostgresClient = None  # type: ignore[assignment]

    def run(self) -> None:
        """Copy the file, unless its records were copied while they were read.

        Bad rows are set aside; other failures are kept for the runner and end the load.
        """
        client = self._job_client
        plan = plan_of(client.schema.name)
        entity, table = plan.entity, self.load_table_name
        try:
            if table == entity.records_table and plan.stream.refusal is None:
                plan.is_staged = not plan.stream.fills
                return
            with client.sql_client.begin_transaction(), client.sql_client.native_connection.cursor() as cursor:
                if table == entity.records_table:
                    plan.copy_rejected += copy_refusing(cursor, self._file_path, entity, plan.originals)
                    plan.is_staged = True
                else:
                    copy_parquet(cursor, self._file_path, entity.staging_schema, table)
        except Exception as error:
            plan.errors.append(error)
            raise DatabaseTerminalException(error) from error


class BridgePostgresClient(PostgresClient):
    """Stages with dlt's machinery, publishes with ours."""

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """Our COPY for Parquet, dlt's own jobs for the rest."""
        if file_path.endswith(".parquet"):
            return CopyJob(file_path)
        return super().create_load_job(table, file_path, load_id, restore)

    @contextmanager
    def _ddl_lock(self) -> Iterator[None]:
        # dlt checks, then creates; first runs side by side fail. Its own session: dlt resets its connection on errors.
        connection = psycopg2.connect(self.config.credentials.to_native_representation())
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"dlt-ddl:{self.config.dataset_name}",)
                )
            yield
        finally:
            connection.close()

    def is_storage_initialized(self) -> bool:
        """Whether the dataset is there; dlt asks a view that shows only what the role owns."""
        with self.sql_client.native_connection.cursor() as cursor:
            return has_schema(cursor, self.sql_client.dataset_name)

    def initialize_storage(self, truncate_tables: Iterable[str] | None = None) -> None:
        """Create dlt's dataset, one process at a time."""
        with self._ddl_lock():
            super().initialize_storage(truncate_tables)  # type: ignore[arg-type]

    def update_stored_schema(
        self,
        only_tables: Iterable[str] | None = None,
        expected_update: TSchemaTables | None = None,
        force: bool = False,
    ) -> TSchemaTables | None:
        """Create dlt's own tables, one process at a time; the staging tables are there already."""
        with self._ddl_lock():
            return super().update_stored_schema(only_tables, expected_update, force)  # type: ignore[arg-type]

    def complete_load(self, load_id: str) -> None:
        """Publish the plan and dlt's load row in one transaction."""
        plan = plan_of(self.schema.name)
        try:
            if plan.stream.fills and plan.stream.refusal is None and self._publish_filled(load_id, plan):
                return
            with self.sql_client.begin_transaction():
                self._publish(load_id, plan, fills=False)
        except Exception as error:
            plan.outcome = None
            plan.errors.append(error)
            raise

    def _publish_filled(self, load_id: str, plan: PublishPlan) -> bool:
        """Publish in the stream's transaction; False when a key stands twice, so that the records must be staged."""
        own, self.sql_client._conn = self.sql_client._conn, plan.stream.connection
        try:
            self._publish(load_id, plan, fills=True)
            plan.stream.connection.commit()
        except KeyTwiceError as error:
            logger.info("%s goes through staging: %s", plan.entity.table, error)
            plan.stream.connection.rollback()
            return False
        except BaseException:
            plan.stream.connection.close()
            raise
        finally:
            self.sql_client._conn = own
        return True

    def _publish(self, load_id: str, plan: PublishPlan, *, fills: bool) -> None:
        loads = self.sql_client.make_qualified_table_name(self.schema.loads_table_name)
        if self.sql_client.execute_sql(f"SELECT 1 FROM {loads} WHERE load_id = %s", load_id):
            return
        plan.details["load_id"] = load_id
        with self.sql_client.native_connection.cursor() as cursor:
            plan.outcome = publish(cursor, plan, fills=fills)
        super().complete_load(load_id)


class bridge_postgres(postgres):  # noqa: N801 - dlt names destinations like functions
    """Factory of the destination; dataset = the entity's staging schema."""

    def _raw_capabilities(self) -> DestinationCapabilitiesContext:
        capabilities = super()._raw_capabilities()
        capabilities.preferred_loader_file_format = "parquet"
        capabilities.supported_loader_file_formats = ["parquet", "insert_values"]
        capabilities.loader_file_format_selector = None
        capabilities.naming_convention = "direct"
        return capabilities

    @property
    def client_class(self) -> type[BridgePostgresClient]:
        """The client with the publish step."""
        return BridgePostgresClient


bridge_postgres.register()
