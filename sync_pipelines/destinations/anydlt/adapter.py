"""Any destination of dlt: compared in the control database, merged by a pipeline, and then the books are closed.

A run that is killed between the load and the books leaves rows that the next run finds unchanged: at least once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from sync_pipelines.books.staging import lock_ddl, prepare_staging
from sync_pipelines.catalog.database import Database, classified_errors
from sync_pipelines.catalog.session_options import ensure_schema
from sync_pipelines.destinations.anydlt.mirror import MirrorTable, make_mirror, mirrored
from sync_pipelines.destinations.anydlt.warehouse import Warehouse, check_warehouse
from sync_pipelines.destinations.aside import free_name
from sync_pipelines.destinations.copied import OWN_TYPES, copy_rows
from sync_pipelines.destinations.destination import Prepared, StagedBatches
from sync_pipelines.destinations.drift import (
    Alterations,
    TablePlan,
    plan_table,
    with_stored_columns,
)
from sync_pipelines.destinations.duplicates import count_duplicates
from sync_pipelines.destinations.flags import has_accepted_content
from sync_pipelines.destinations.postgres.publish import publish
from sync_pipelines.destinations.values import row_as_python
from sync_pipelines.errors import ConfigurationError, UnknownTypeError
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import (
    OPTIONAL_COLUMNS,
    REJECTED_COLUMN,
    REVIEW_COLUMN,
    Column,
    Entity,
)
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult
from sync_pipelines.model.run import Ledger
from sync_pipelines.model.types import ColumnType, parse_type, widens


class DltDestination:
    """Tables in a destination of dlt; catalog, quarantine and books stay in PostgreSQL."""

    def __init__(
        self,
        database: Database,
        name: str,
        credentials: str,
        column_type: Callable[[ColumnType], str],
    ) -> None:
        self._database, self._name, self._credentials = database, name, credentials
        self._column_type = column_type
        self._wrote = False

    def prepare(self, entity: Entity, *, rebuild: bool, remask: Remask | None = None) -> Prepared:
        """Look at the table; dlt makes it, and its columns, with the first rows."""
        with self._locked() as cursor:
            warehouse = self._warehouse(entity)
            there = warehouse.types()
            if remask is not None and there:
                raise ConfigurationError(
                    f"The table {entity.table} in {self._name} has clear values of columns that are to be masked.",
                    where=dict(entity.where),
                    next_command=f"rename or drop the table, then sync-pipelines sync {entity.path} --full-refresh",
                )
            entity = with_stored_columns(entity, there)
            changes = self._follow(warehouse, entity, there, rebuild=rebuild)
            mirror = mirrored(entity)
            ensure_schema(cursor, mirror.target_schema)
            prepare_staging(cursor, mirror)
            is_empty = rebuild and (
                not there or warehouse.number("SELECT count(*) FROM {table}") == 0
            )
        return Prepared(changes, is_empty, entity.position.own_columns)

    def _follow(
        self,
        warehouse: Warehouse,
        entity: Entity,
        stored: Mapping[str, str],
        *,
        rebuild: bool,
    ) -> tuple[str, ...]:
        """Bring a table that is there to the entity's columns; returns what changed, in words."""
        types = {name: self._spelled(sql_type) for name, sql_type in stored.items()}
        own_types = dict.fromkeys(OPTIONAL_COLUMNS, "varchar")
        own_types[REJECTED_COLUMN] = "timestamp with time zone"

        def plan(table: str, quote: Callable[[str], str]) -> TablePlan:
            spelled = Alterations(
                table=table,
                quote=quote,
                stored_name=str,
                type_of=lambda column: self._column_type(column.type),
                widening=lambda column, have: self._widening(column, have, quote),
                holds=_holds,
                own_types=own_types,
            )
            return plan_table(entity, types, spelled, rebuild=rebuild)

        return warehouse.alter(plan)

    def _spelled(self, sql_type: str) -> str:
        """A type of the destination as this program spells it."""
        try:
            return self._column_type(parse_type(sql_type))
        except UnknownTypeError:
            return sql_type

    def _widening(self, column: Column, have: str, quote: Callable[[str], str]) -> str | None:
        try:
            is_wider = widens(parse_type(have), column.type)
        except UnknownTypeError:
            return None
        if not is_wider:
            return None
        return f"ALTER COLUMN {quote(column.target_name)} TYPE {self._column_type(column.type)}"

    def open_stream(self, entity: Entity, *, fills_empty: bool, first_rows: int) -> None:
        """None: one load brings what changed, when everything is read."""

    def publish(
        self,
        request: PublishRequest,
        read: ReadResult,
        batches: StagedBatches,
    ) -> Publication:
        """Compare in the control database, load by dlt, then commit the books."""
        warehouse = self._warehouse(request.entity)
        mirror = mirrored(request.entity)
        with classified_errors(), self._locked() as cursor:
            make_mirror(cursor, mirror, warehouse)
            table = partial(MirrorTable, warehouse=warehouse)
            publication = publish(
                cursor,
                replace(request, entity=mirror),
                read,
                batches,
                make_table=table,
            )
        self._wrote = bool(publication.details["dlt"])
        return publication

    def all_unchanged(
        self,
        request: PublishRequest,
        read: ReadResult,
        batch: pa.Table,
    ) -> Ledger | None:
        """None: only the publish step compares."""
        return None

    def accept_review(
        self,
        entity: Entity,
        key: Sequence[str],
        content_hash: str,
        *,
        catalog: Any,
    ) -> None:
        """By one statement outside of the catalog's transaction.

        Where the catalog's transaction then fails, the flag comes back with the next full read.
        """
        with self._locked():
            same = has_accepted_content(content_hash, row="")
            self._warehouse(entity).update(f"{REVIEW_COLUMN} = NULL", key, same)

    def duplicate_keys(self, entity: Entity) -> int:
        """Counted after each run that wrote."""
        if not self._wrote:
            return 0
        with self._locked():
            statement = count_duplicates("{table}", ["{keys}"])
            return self._warehouse(entity).number(statement)

    def set_aside(self, entity: Entity, suffix: str) -> str | None:
        """Rename the table."""
        with self._locked():
            warehouse = self._warehouse(entity)
            if not warehouse.types():
                return None
            kept = free_name(
                entity.target_table,
                suffix,
                is_taken=lambda name: self._has(entity, name),
            )
            warehouse.rename(kept)
        return f"{entity.target_schema}.{kept}"

    def _has(self, entity: Entity, name: str) -> bool:
        """Whether there is a table of a name beside the entity's."""
        other = replace(entity, target_table=name)
        return bool(self._warehouse(other).types())

    def table_name(self, entity: Entity) -> str:
        """destination: schema.table."""
        return f"{self._name}: {entity.table}"

    def check(self, schema: str) -> str:
        """Open a connection."""
        with self._locked():
            return check_warehouse(self._name, self._credentials)

    def keys_table(self, connection: Any, entity: Entity) -> str:
        """A copy."""
        return self._copy(connection, entity, is_transient=False)

    def rows_table(
        self,
        connection: Any,
        entity: Entity,
        key: tuple[str, ...] | None = None,
    ) -> str:
        """A copy."""
        return self._copy(connection, entity, is_transient=True)

    def live_rows(self, entity: Entity) -> Iterator[tuple[Any, ...]]:
        """By one query that is read in parts."""
        with self._locked():
            names = [column.target_name for column in entity.columns]
            types = [column.type for column in entity.columns]
            for row in self._warehouse(entity).rows(names, "NOT _bridge_deleted"):
                yield row_as_python(row, types)

    def _copy(self, connection: Any, entity: Entity, *, is_transient: bool) -> str:
        with self._locked():
            warehouse = self._warehouse(entity)
            there = warehouse.types()
            types = {column.target_name: column.type.sql for column in entity.columns}
            types |= OWN_TYPES | OPTIONAL_COLUMNS
            if not there:
                return copy_rows(connection, types, (), is_transient=is_transient)
            types = {name: kind for name, kind in types.items() if name in there}
            rows = warehouse.rows(list(types))
            return copy_rows(connection, types, rows, is_transient=is_transient)

    def _warehouse(self, entity: Entity) -> Warehouse:
        return Warehouse(self._name, self._credentials, entity)

    @contextmanager
    def _locked(self) -> Iterator[Any]:
        """A cursor in a transaction of the control database that lets one user at a time into the destination.

        A file of duckdb is open in one process only.
        """
        with self._database.cursor() as cursor:
            # Credentials may be a secret, and the name of a lock may be logged.
            place = hashlib.sha256(self._credentials.encode()).hexdigest()
            lock_ddl(cursor, f"{self._name}:{place}")
            yield cursor


def _holds(column: Column, have: str) -> bool:
    """Whether a column of the table takes every value of the source's type."""
    try:
        return widens(column.type, parse_type(have))
    except UnknownTypeError:
        return False
