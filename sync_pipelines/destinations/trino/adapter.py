"""Trino as a destination: `destinations.destination.Destination` by means of the modules of this folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg.rows import tuple_row

from sync_pipelines.books.masked import mask_catalog
from sync_pipelines.books.staging import lock_ddl, prepare_staging
from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.destination import Prepared, StagedBatches
from sync_pipelines.destinations.drift import TablePlan
from sync_pipelines.destinations.trino.commit import end_leftovers
from sync_pipelines.destinations.trino.hive import current_rows, plan_hive_table, version_statement
from sync_pipelines.destinations.trino.masking import plan_clearing
from sync_pipelines.destinations.trino.merge import Statements, entity_marker, match_keys
from sync_pipelines.destinations.trino.mirror import live_rows, mirror_keys, mirror_rows
from sync_pipelines.destinations.trino.options import resolve_options
from sync_pipelines.destinations.trino.publish import publish
from sync_pipelines.destinations.trino.quoting import literal, quote
from sync_pipelines.destinations.trino.reviews import (
    keys_table,
    read_accepted,
    reviews_agree,
    without_accepted,
)
from sync_pipelines.destinations.trino.session import Session, connector_of, create_schema, tune
from sync_pipelines.destinations.trino.staging import inline_relation, record_fields
from sync_pipelines.destinations.trino.table import (
    apply_table,
    check_names,
    plan_table,
    read_columns,
    set_aside,
)
from sync_pipelines.destinations.trino.work import read_counts
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.errors import EntityDefinitionError, SettingsError
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import OPTIONAL_COLUMNS, REVIEW_COLUMN, Connector, Entity
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult
from sync_pipelines.model.quoting import literal as pg_literal
from sync_pipelines.model.quoting import quote as pg_quote
from sync_pipelines.model.run import Ledger
from sync_pipelines.network.outbound import of_connector
from sync_pipelines.settings import load_settings


class TrinoDestination:
    """Iceberg tables behind one Trino; catalog, quarantine and books stay in PostgreSQL.

    Raises:
        SettingsError: no Trino is named, or its settings cannot be used.
    """

    def __init__(self, database: Database, connector: Connector) -> None:
        self._database = database
        self.session = Session(
            resolve_options(
                connector.destination_settings, outbound=of_connector(connector, load_settings())
            )
        )
        self.catalog = self.session.options.catalog
        self._compared: tuple[int, Counts] | None = None
        self._wrote = False

    def prepare(self, entity: Entity, *, rebuild: bool, remask: Remask | None = None) -> Prepared:
        """Bring the table into shape; end writes of killed runs, whose commit could still come."""
        check_names(entity)
        self._check_alone(entity)
        self._tune()
        end_leftovers(self.session, entity_marker(entity))
        with (
            self._database.connect() as connection,
            connection.cursor(row_factory=tuple_row) as cursor,
        ):
            lock_ddl(cursor, f"trino:{self.session.options.location}:{entity.target_schema}")
            if remask is not None:
                clearing = plan_clearing(
                    self.session, self.catalog, entity, remask, is_hive=self.is_hive
                )
                # Trino knows no common transaction: what is pending must be known before a value is gone.
                with self._database.connect() as own, own.cursor(row_factory=tuple_row) as before:
                    mask_catalog(before, remask)
                apply_table(self.session, TablePlan(clearing))
            entity, plan = self._plan_table(entity, rebuild=rebuild)
            if plan.statements:
                create_schema(self.session, self.catalog, entity.target_schema)
            apply_table(self.session, plan)
            lock_ddl(cursor, entity.target_schema)
            prepare_staging(cursor, entity)
        # Only a full read asks: into an empty table it need not close with a second reading of its last stretch.
        is_empty = rebuild and not self.session.query(
            f"SELECT 1 FROM {self._target(entity)} LIMIT 1"
        )
        return Prepared(plan.changes, is_empty, entity.position.own_columns)

    @cached_property
    def is_hive(self) -> bool:
        """The catalog is of the Hive connector, not of Iceberg.

        Raises:
            SettingsError: it is of neither.
        """
        kind = connector_of(self.session, self.catalog)
        if kind not in ("iceberg", "hive"):
            raise SettingsError(
                f"The catalog {self.catalog!r} is of the connector {kind}, whose tables cannot be kept equal to"
                " a source.",
                next_command="name an Iceberg catalog: TRINO_CATALOG, or connector add … --trino catalog=…",
            )
        return kind == "hive"

    def _check_alone(self, entity: Entity) -> None:
        """Refuse a table that an older entity has already, once its name is folded."""
        with self._database.connect() as connection:
            other = connection.execute(
                """
                SELECT c.name || '/' || e.slug AS path FROM entities e JOIN connectors c ON c.uid = e.connector_uid
                WHERE e.destination = 'trino'
                  AND (e.created_at, e.uid) < (SELECT created_at, uid FROM entities WHERE uid = %s) AND
                      lower(e.target_schema) = %s AND lower(e.target_table) = %s
                """,
                [entity.uid, entity.target_schema.lower(), entity.target_table.lower()],
            ).fetchone()
        if other:
            raise EntityDefinitionError(
                f"Trino folds names to lower case, so {entity.table} is the table of {other['path']} already.",
                where=dict(entity.where),
                next_command=f"sync-pipelines entity set {entity.path} --destination postgres",
            )

    def _tune(self) -> None:
        if self.is_hive:
            self.session.set_property(f"{self.catalog}.timestamp_precision", "MICROSECONDS")
        else:
            tune(self.session, self.catalog)

    def _plan_table(self, entity: Entity, *, rebuild: bool) -> tuple[Entity, TablePlan]:
        stored = read_columns(self.session, self.catalog, entity.target_schema, entity.target_table)
        entity = entity.with_own_columns(
            entity.position.own_columns | (OPTIONAL_COLUMNS.keys() & stored.keys())
        )
        if self.is_hive:
            return entity, plan_hive_table(self.session, self.catalog, entity, stored)
        return entity, plan_table(self.catalog, entity, stored, rebuild=rebuild)

    def publish(
        self, request: PublishRequest, read: ReadResult, batches: StagedBatches
    ) -> Publication:
        """Commit the rows, then the books."""
        with (
            self._database.connect() as connection,
            connection.cursor(row_factory=tuple_row) as cursor,
        ):
            publication = publish(
                cursor,
                self.session,
                self.catalog,
                request,
                read,
                batches,
                is_hive=self.is_hive,
                compared=self._compared,
            )
        self._wrote = bool(publication.details["trino"])
        return publication

    def open_stream(self, entity: Entity, *, fills_empty: bool, first_rows: int) -> None:
        """None: one statement brings all records, when they are complete."""

    def all_unchanged(
        self, request: PublishRequest, read: ReadResult, batch: pa.Table
    ) -> Ledger | None:
        """Compare by one query that carries the batch; what it says of a duplicate or a held key goes the long way."""
        entity = request.entity
        with (
            self._database.connect() as connection,
            connection.cursor(row_factory=tuple_row) as cursor,
        ):
            batch = without_accepted(entity, batch, read_accepted(cursor, request))
            if not reviews_agree(cursor, request, batch):
                return None
        relation = inline_relation(batch, record_fields(entity), hive=self.is_hive)
        keys = [
            f"c{index}" for index, column in enumerate(entity.columns) if column.is_business_key
        ]
        distinct = batch.group_by(["rowversion", "hash", *keys]).aggregate([])
        if (
            relation is None
            or len(distinct) != len(batch.group_by(keys).aggregate([]))
            or self._holds(request, distinct, keys)
        ):
            return None
        statements = Statements(request, read, self._target(entity), relation)
        if len(distinct) != len(batch):
            statements.keep_winners()
        counts = read_counts(self.session, statements)
        if counts.same != len(distinct):
            # The same comparison need not be made again when these records are published.
            self._compared = (len(batch), counts) if len(distinct) == len(batch) else None
            return None
        return Ledger(
            read.fetched, unchanged=counts.same, superseded=read.reread + len(batch) - len(distinct)
        )

    def _holds(self, request: PublishRequest, distinct: pa.Table, keys: list[str]) -> bool:
        """A good record whose key is in quarantine must go the long way, which resolves it."""
        with self._database.connect() as connection:
            held = connection.execute(
                f"SELECT business_key FROM {pg_quote(request.bridge_schema)}.quarantine WHERE resolved_at IS NULL"
                f" AND entity_uid = {pg_literal(str(request.entity.uid))} AND business_key IS NOT NULL"
            ).fetchall()
        if not held:
            return False
        texts = set(
            zip(*(pc.cast(distinct[name], pa.string()).to_pylist() for name in keys), strict=True)
        )
        return any(tuple(row["business_key"]) in texts for row in held)

    def accept_review(
        self, entity: Entity, key: Sequence[str], content_hash: str, *, catalog: Any
    ) -> None:
        """By one statement of its own.

        Where the catalog's transaction then fails, the flag comes back with the next full read.
        """
        relation = inline_relation(*keys_table(entity, [tuple(key)]), hive=self.is_hive)
        same = f"substr(t._bridge_hash, -32) = {literal(content_hash)} AND t.{REVIEW_COLUMN} IS NOT NULL"
        match = match_keys(entity)
        if not self.is_hive:
            self.session.execute(
                f"MERGE INTO {self._target(entity)} t USING {relation} s ON {match} WHEN MATCHED"
                f" AND {same} THEN UPDATE SET {REVIEW_COLUMN} = NULL"
            )
            return
        rows = quote(
            self.catalog, entity.target_schema, current_rows(self.session, self.catalog, entity)
        )
        condition = f"{same} AND EXISTS (SELECT 1 FROM {relation} s WHERE {match})"
        there = read_columns(self.session, self.catalog, entity.target_schema, entity.target_table)
        entity = entity.with_own_columns(OPTIONAL_COLUMNS.keys() & there.keys())
        self.session.execute(
            version_statement(
                entity, self._target(entity), rows, condition, {REVIEW_COLUMN: "NULL"}
            )
        )

    def duplicate_keys(self, entity: Entity) -> int:
        """Iceberg has no constraint that could vouch for it, so they are counted after every run that wrote."""
        if not self._wrote:
            return 0
        keys = ", ".join(quote(column.target_name) for column in entity.business_keys)
        return self.session.number(
            f"SELECT count(*) FROM (SELECT 1 FROM {self._target(entity)} GROUP BY {keys} HAVING count(*) > 1) d"
        )

    def set_aside(self, entity: Entity, suffix: str) -> str | None:
        """Rename the table."""
        kept = set_aside(self.session, self.catalog, entity, suffix, is_view=self.is_hive)
        return f"{self.catalog}.{kept}" if kept else None

    def table_name(self, entity: Entity) -> str:
        """catalog.schema.table."""
        return f"{self.catalog}.{entity.table}".lower()

    def check(self) -> str:
        """Where Trino is, and of which connector its catalog is."""
        kind = "Hive: append and swap only" if self.is_hive else "Iceberg"
        return f"{self.session.options.location} answers ({kind})"

    def keys_table(self, connection: Any, entity: Entity) -> str:
        """A copy."""
        return mirror_keys(self.session, self.catalog, connection, entity)

    def rows_table(
        self, connection: Any, entity: Entity, key: tuple[str, ...] | None = None
    ) -> str:
        """A copy."""
        return mirror_rows(
            self.session, self.catalog, connection, entity, key, is_hive=self.is_hive
        )

    def live_rows(self, entity: Entity) -> Iterator[tuple[Any, ...]]:
        """By one query that is read in parts."""
        return live_rows(self.session, self.catalog, entity)

    def _target(self, entity: Entity) -> str:
        return quote(self.catalog, entity.target_schema, entity.target_table)
