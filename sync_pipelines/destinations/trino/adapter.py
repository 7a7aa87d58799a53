"""Trino as a destination: `destinations.destination.Destination` by means of the modules of this folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from sync_pipelines.books.masked import mask_catalog
from sync_pipelines.books.rejects import waits_for_key
from sync_pipelines.books.reviews import read_accepted
from sync_pipelines.books.staging import lock_ddl, prepare_staging
from sync_pipelines.catalog.database import Database
from sync_pipelines.destinations.destination import Prepared, StagedBatches
from sync_pipelines.destinations.drift import TablePlan, with_stored_columns
from sync_pipelines.destinations.duplicates import count_duplicates
from sync_pipelines.destinations.flags import has_accepted_content
from sync_pipelines.destinations.peek import distinct_records, key_texts, unchanged_ledger
from sync_pipelines.destinations.trino.commit import end_leftovers
from sync_pipelines.destinations.trino.hive import current_rows, plan_hive_table, version_statement
from sync_pipelines.destinations.trino.keys import keys_table
from sync_pipelines.destinations.trino.masking import plan_clearing
from sync_pipelines.destinations.trino.merge import Statements, entity_marker, match_keys
from sync_pipelines.destinations.trino.mirror import live_rows, mirror_keys, mirror_rows
from sync_pipelines.destinations.trino.options import resolve_options
from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.destinations.trino.publish import publish
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.reviews import reviews_agree, without_accepted
from sync_pipelines.destinations.trino.session import Session, connector_of, create_schema, tune
from sync_pipelines.destinations.trino.staging import inline_relation, record_fields
from sync_pipelines.destinations.trino.table import (
    apply_table,
    check_names,
    plan_table,
    set_aside,
)
from sync_pipelines.destinations.trino.work import read_counts
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.errors import EntityDefinitionError, SettingsError
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import REVIEW_COLUMN, Connector, Entity
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult
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
        outbound = of_connector(connector, load_settings())
        options = resolve_options(connector.destination_settings, outbound=outbound)
        self.session = Session(options)
        self.catalog = options.catalog
        self._compared: tuple[int, Counts] | None = None
        self._wrote = False

    def place(self, entity: Entity) -> Place:
        """Where the table of an entity is."""
        return Place(self.session, self.catalog, entity)

    def prepare(
        self,
        entity: Entity,
        *,
        rebuild: bool,
        remask: Remask | None = None,
    ) -> Prepared:
        """Bring the table into shape; end writes of killed runs, whose commit could still come."""
        check_names(entity)
        self._check_alone(entity)
        self._tune()
        end_leftovers(self.session, entity_marker(entity))
        with self._database.cursor() as cursor:
            lock_ddl(cursor, f"trino:{self.session.options.location}:{entity.target_schema}")
            if remask is not None:
                self._clear(entity, remask)
            entity, plan = self._plan_table(entity, rebuild=rebuild)
            if plan.statements:
                create_schema(self.session, self.catalog, entity.target_schema)
            apply_table(self.session, plan)
            lock_ddl(cursor, entity.target_schema)
            prepare_staging(cursor, entity)
        # Only a full read asks: into an empty table it need not close with a second reading of its last stretch.
        is_empty = rebuild and self.place(entity).is_empty()
        return Prepared(plan.changes, is_empty, entity.position.own_columns)

    def _clear(self, entity: Entity, remask: Remask) -> None:
        """Take clear values out of the table and the quarantine."""
        clearing = plan_clearing(self.place(entity), remask, is_hive=self.is_hive)
        # Trino knows no common transaction: what is pending must be known before a value is gone.
        with self._database.cursor() as before:
            mask_catalog(before, remask)
        apply_table(self.session, TablePlan(clearing))

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
        stored = self.place(entity).columns()
        entity = with_stored_columns(entity, stored)
        place = self.place(entity)
        if self.is_hive:
            return entity, plan_hive_table(place, stored)
        return entity, plan_table(place, stored, rebuild=rebuild)

    def publish(
        self,
        request: PublishRequest,
        read: ReadResult,
        batches: StagedBatches,
    ) -> Publication:
        """Commit the rows, then the books."""
        with self._database.cursor() as cursor:
            publication = publish(
                cursor,
                self.place(request.entity),
                request,
                read,
                batches,
                is_hive=self.is_hive,
                compared=self._compared,
            )
        self._wrote = bool(publication.details["trino"])
        return publication

    def open_stream(
        self,
        entity: Entity,
        *,
        fills_empty: bool,
        first_rows: int,
    ) -> None:
        """None: one statement brings all records, when they are complete."""

    def all_unchanged(
        self,
        request: PublishRequest,
        read: ReadResult,
        batch: pa.Table,
    ) -> Ledger | None:
        """Compare by one query that carries the batch."""
        entity = request.entity
        with self._database.cursor() as cursor:
            batch = without_accepted(entity, batch, read_accepted(cursor, request))
            if not reviews_agree(cursor, request, batch):
                return None
            distinct = distinct_records(entity, batch)
            if distinct is None:
                return None
            # A good record whose key is in quarantine must go the long way, which settles it.
            keys = key_texts(entity, distinct)
            if waits_for_key(cursor, request, keys):
                return None
        fields = record_fields(entity)
        relation = inline_relation(batch, fields, hive=self.is_hive)
        if relation is None:
            return None
        table = self.place(entity).table
        statements = Statements(request, read, table, relation)
        is_repeated = len(distinct) != len(batch)
        if is_repeated:
            statements.keep_winners()
        counts = read_counts(self.session, statements)
        if counts.same != len(distinct):
            # The same comparison need not be made again when these records are published.
            self._compared = None if is_repeated else (len(batch), counts)
            return None
        return unchanged_ledger(read, batch, distinct)

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
        table, fields = keys_table(entity, [tuple(key)])
        relation = inline_relation(table, fields, hive=self.is_hive)
        same = has_accepted_content(content_hash)
        match = match_keys(entity)
        place = self.place(entity)
        if not self.is_hive:
            self.session.execute(
                f"MERGE INTO {place.table} t USING {relation} s ON {match} WHEN MATCHED"
                f" AND {same} THEN UPDATE SET {REVIEW_COLUMN} = NULL"
            )
            return
        condition = f"{same} AND EXISTS (SELECT 1 FROM {relation} s WHERE {match})"
        entity = with_stored_columns(entity, place.columns())
        place = place.of(entity)
        changes = {REVIEW_COLUMN: "NULL"}
        rows = current_rows(place)
        statement = version_statement(place, rows, condition, changes)
        self.session.execute(statement)

    def duplicate_keys(self, entity: Entity) -> int:
        """Iceberg has no constraint that could vouch for it, so they are counted after every run that wrote."""
        if not self._wrote:
            return 0
        keys = [quote(column.target_name) for column in entity.business_keys]
        table = self.place(entity).table
        return self.session.number(count_duplicates(table, keys))

    def set_aside(self, entity: Entity, suffix: str) -> str | None:
        """Rename the table."""
        kept = set_aside(self.place(entity), suffix, is_view=self.is_hive)
        return f"{self.catalog}.{kept}" if kept else None

    def table_name(self, entity: Entity) -> str:
        """catalog.schema.table."""
        return f"{self.catalog}.{entity.table}".lower()

    def check(self, schema: str) -> str:
        """Where Trino is, and of which connector its catalog is."""
        kind = "Hive: append and swap only" if self.is_hive else "Iceberg"
        return f"{self.session.options.location} answers ({kind})"

    def keys_table(self, connection: Any, entity: Entity) -> str:
        """A copy."""
        return mirror_keys(self.place(entity), connection)

    def rows_table(
        self,
        connection: Any,
        entity: Entity,
        key: tuple[str, ...] | None = None,
    ) -> str:
        """A copy."""
        return mirror_rows(self.place(entity), connection, key, is_hive=self.is_hive)

    def live_rows(self, entity: Entity) -> Iterator[tuple[Any, ...]]:
        """By one query that is read in parts."""
        return live_rows(self.place(entity))
