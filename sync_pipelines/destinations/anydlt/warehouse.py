"""One table in a destination of dlt: asked by its SQL client, written by a pipeline."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.destination import Destination
from dlt.common.destination.exceptions import (
    DestinationTerminalException,
    DestinationTransientException,
)
from dlt.common.exceptions import MissingDependencyException
from dlt.common.schema.exceptions import DataValidationError
from dlt.common.schema.typing import TSchemaContractDict
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.pipeline.exceptions import PipelineStepFailed

from sync_pipelines.destinations.drift import TablePlan
from sync_pipelines.destinations.spools import working_folder
from sync_pipelines.errors import (
    ConfigurationError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    SchemaDriftError,
    SettingsError,
)
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import literal
from sync_pipelines.secrets import printable
from sync_pipelines.settings import load_settings

READ_ROWS = 20_000
# New tables and columns are made; another type stops the load before anything is written.
_CONTRACT: TSchemaContractDict = {"tables": "evolve", "columns": "evolve", "data_type": "freeze"}


def check_warehouse(name: str, credentials: str) -> str:
    """Open a connection; says that it worked.

    Raises:
        SyncError: it did not.
    """
    with (
        _our_errors(None),
        _pipeline(name, credentials, "check") as pipeline,
        pipeline.sql_client() as client,
    ):
        client.execute_sql("SELECT 1")
    return f"{name} answers"


@contextmanager
def _pipeline(name: str, credentials: str, dataset: str) -> Iterator[Any]:
    # A person who wants dlt to report sets the variable otherwise.
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    factory = Destination.from_reference(name, credentials=credentials, naming_convention="direct")
    with working_folder(load_settings().home) as folder:
        yield dlt.pipeline(
            pipeline_name="sync_pipelines",
            pipelines_dir=str(folder),
            destination=factory,
            dataset_name=dataset,
        )


class Warehouse:
    """The table of an entity behind a destination of dlt.

    Args:
        name: of the destination.
        credentials: as dlt takes them.
        entity: whose table.
    """

    def __init__(self, name: str, credentials: str, entity: Entity) -> None:
        self.name, self.entity = name, entity
        self._credentials = credentials

    @contextmanager
    def _pipeline(self) -> Iterator[Any]:
        with (
            _our_errors(self.entity),
            _pipeline(self.name, self._credentials, self.entity.target_schema) as pipeline,
        ):
            yield pipeline

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """The SQL client of the destination."""
        with self._pipeline() as pipeline, pipeline.sql_client() as client:
            yield client

    def types(self) -> dict[str, str]:
        """Types of the table's columns by name, in lower case; empty where there is no table."""
        schema = literal(self.entity.target_schema)
        table = literal(self.entity.target_table)
        where = f"table_schema = {schema} AND table_name = {table}"
        with self._client() as client:
            rows = client.execute_sql(
                f"SELECT column_name, data_type FROM information_schema.columns WHERE {where}"
            )
        return {name: sql_type.lower() for name, sql_type in rows}

    def rows(self, columns: Sequence[str], where: str = "1 = 1") -> Iterator[tuple[Any, ...]]:
        """Rows of the table, read in parts.

        Args:
            columns: their names; each is in the table.
            where: SQL without names that need quotes.
        """
        with self._client() as client:
            names = ", ".join(client.escape_column_name(name) for name in columns)
            with client.execute_query(
                f"SELECT {names} FROM {self._table(client)} WHERE {where}"
            ) as cursor:
                while rows := cursor.fetchmany(READ_ROWS):
                    yield from rows

    def number(self, statement: str) -> int:
        """The single number of a query; in it `{table}` is the table and `{keys}` the columns of the business key."""
        with self._client() as client:
            table = self._table(client)
            keys = ", ".join(self._keys(client))
            rows = client.execute_sql(statement.format(table=table, keys=keys))
            return int(rows[0][0])

    def update(self, assignment: str, key: Sequence[str], condition: str) -> None:
        """Change the row of a key, given as texts."""
        with self._client() as client:
            conditions = [condition]
            for name, part in zip(self._keys(client), key, strict=True):
                conditions.append(f"CAST({name} AS varchar) = {literal(part)}")
            where = " AND ".join(conditions)
            client.execute_sql(f"UPDATE {self._table(client)} SET {assignment} WHERE {where}")

    def alter(self, plan: Callable[[str, Callable[[str], str]], TablePlan]) -> tuple[str, ...]:
        """Run the statements of a plan; returns what they change, in words.

        Args:
            plan: makes it from the quoted table and what quotes a column.
        """
        with self._client() as client:
            planned = plan(self._table(client), client.escape_column_name)
            for statement in planned.statements:
                client.execute_sql(statement)
            if planned.statements:
                self._forget_schema(client)
        return planned.changes

    def rename(self, other: str) -> None:
        """Give the table another name; dlt then makes a new one under the old name."""
        with self._client() as client:
            renamed = client.escape_column_name(other)
            client.execute_sql(f"ALTER TABLE {self._table(client)} RENAME TO {renamed}")
            self._forget_schema(client)

    def _forget_schema(self, client: Any) -> None:
        """Let dlt look at the table itself instead of what it wrote of it; also where it stages a merge."""
        self._forget_version(client)
        with client.with_staging_dataset():
            self._forget_version(client)
            with contextlib.suppress(DatabaseUndefinedRelation):
                client.execute_sql(f"DROP TABLE IF EXISTS {self._table(client)}")

    def _forget_version(self, client: Any) -> None:
        versions = client.make_qualified_table_name("_dlt_version")
        with contextlib.suppress(DatabaseUndefinedRelation):
            client.execute_sql(
                f"DELETE FROM {versions} WHERE schema_name = {literal(self._schema_name)}"
            )

    def merge(self, batches: Iterator[pa.Table]) -> str:
        """Insert rows, or replace those of the same business key; returns dlt's id of the load.

        Raises:
            SchemaDriftError: a column has another type in the table.
            SyncError: dlt could not load.
        """
        keys = [column.target_name for column in self.entity.business_keys]
        with self._pipeline() as pipeline:
            resource = dlt.resource(
                batches,
                name=self.entity.target_table,
                write_disposition="merge",
                primary_key=keys,
                schema_contract=_CONTRACT,
            )
            schema = dlt.Schema(self._schema_name)
            info = pipeline.run(resource, schema=schema)
            info.raise_on_failed_jobs()
            return ", ".join(info.loads_ids)

    @property
    def _schema_name(self) -> str:
        return f"e{self.entity.uid.hex}"

    def _keys(self, client: Any) -> list[str]:
        """The quoted columns of the business key."""
        keys = self.entity.business_keys
        return [client.escape_column_name(column.target_name) for column in keys]

    def _table(self, client: Any) -> str:
        return str(client.make_qualified_table_name(self.entity.target_table))


@contextmanager
def _our_errors(entity: Entity | None) -> Iterator[None]:
    """Errors of dlt as ours; their texts may quote values, so that only the first line of the cause is shown."""
    try:
        yield
    except MissingDependencyException as error:
        raise SettingsError(
            "The client of this destination is not installed.",
            where={} if entity is None else dict(entity.where),
            state="Nothing was changed.",
            next_command="pip install 'sync_pipelines[duckdb]'",
        ) from error
    except (
        PipelineStepFailed,
        DestinationTerminalException,
        DestinationTransientException,
        ConnectionError,
    ) as error:
        raise _as_ours(error, entity) from error


def _as_ours(error: BaseException, entity: Entity | None) -> Exception:
    where = {} if entity is None else dict(entity.where)
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
        if isinstance(cause, DataValidationError) and entity is not None:
            return SchemaDriftError(
                f"The table {entity.table} cannot follow its source: the column"
                f" {printable(str(cause.column_name), 100)} has another type there.",
                where=dict(entity.where),
                next_command=f"sync-pipelines discover {entity.connector} --accept {entity.slug}"
                "  (keeps the old table under another name and reads everything again)",
            )
    first_line, _, _ = str(cause).partition("\n")
    first_line = printable(first_line, 300)
    what = f"dlt failed: {type(cause).__name__}: {first_line}"
    if isinstance(error, DestinationTransientException) or _is_locked(cause):
        return DatabaseUnavailableError(what, where=where)
    if isinstance(error, ConnectionError):
        return ConfigurationError(what, where=where)
    return DatabaseRefusedError(what, where=where)


def _is_locked(cause: BaseException) -> bool:
    """Another process has the file, for which duckdb raises an error of input and output."""
    module = type(cause).__module__
    is_of_duckdb = module.startswith(("duckdb", "_duckdb"))
    return is_of_duckdb and isinstance(cause, OSError)
