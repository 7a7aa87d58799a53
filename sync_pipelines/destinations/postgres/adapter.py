"""PostgreSQL as a destination: the functions of this folder behind the seam of `destinations.destination`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa

from sync_pipelines.books.masked import mask_catalog
from sync_pipelines.books.originals import kept_from_characters
from sync_pipelines.books.staging import lock_ddl, prepare_staging
from sync_pipelines.catalog.database import Database, classified_errors
from sync_pipelines.catalog.rights import check_schema
from sync_pipelines.catalog.roles import grant_target
from sync_pipelines.catalog.session_options import ensure_schema
from sync_pipelines.catalog.stored_columns import read_columns
from sync_pipelines.destinations.destination import Prepared, StagedBatches
from sync_pipelines.destinations.drift import with_stored_columns
from sync_pipelines.destinations.flags import has_accepted_content
from sync_pipelines.destinations.postgres.aside import set_aside
from sync_pipelines.destinations.postgres.duplicates import duplicate_keys
from sync_pipelines.destinations.postgres.fill import BULK_ROWS, is_empty
from sync_pipelines.destinations.postgres.masking import clear_columns
from sync_pipelines.destinations.postgres.misfits import has_checks, has_other_indexes
from sync_pipelines.destinations.postgres.peek import all_unchanged
from sync_pipelines.destinations.postgres.publish import KeyTwiceError, publish
from sync_pipelines.destinations.postgres.stream import RecordStream
from sync_pipelines.destinations.postgres.target import apply_table, plan_table
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import REVIEW_COLUMN, Entity
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import Ledger
from sync_pipelines.model.tables import target_of

logger = logging.getLogger(__name__)


class PostgresDestination:
    """Tables beside the catalog; see `destinations.destination.Destination`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def prepare(
        self,
        entity: Entity,
        *,
        rebuild: bool,
        remask: Remask | None = None,
    ) -> Prepared:
        """Bring target and staging into shape in one transaction."""
        with self._database.cursor() as cursor:
            lock_ddl(cursor, entity.target_schema)
            ensure_schema(cursor, entity.target_schema)
            if remask is not None:
                mask_catalog(cursor, remask)
                clear_columns(cursor, entity, remask)
            stored = read_columns(cursor, entity.target_schema, entity.target_table)
            entity = with_stored_columns(entity, stored)
            plan = plan_table(entity, stored, rebuild=rebuild)
            apply_table(cursor, entity, plan)
            prepare_staging(cursor, entity)
            if not stored:
                grant_target(cursor, self._database.bridge_schema, entity.target_schema)
            kept = kept_from_characters(
                entity,
                has_other_indexes=has_other_indexes(cursor, entity),
                has_checks=has_checks(cursor, entity),
            )
            empty = is_empty(cursor, entity)
        return Prepared(plan.changes, empty, entity.position.own_columns, kept)

    def open_stream(
        self,
        entity: Entity,
        *,
        fills_empty: bool,
        first_rows: int,
    ) -> RecordStream:
        """COPY while the source is read, into staging or into the empty target."""
        connection = self._database.borrow()
        is_bulk = first_rows >= BULK_ROWS
        return RecordStream(connection, entity, fills=fills_empty, bulk=is_bulk)

    def publish(
        self,
        request: PublishRequest,
        read: ReadResult,
        batches: StagedBatches,
    ) -> Publication:
        """Publish in one transaction, on the connection of the stream where there is one."""
        stream = batches.stream
        with classified_errors():
            if isinstance(stream, RecordStream):
                return _publish_streamed(stream, request, read, batches)
            # A connection whose COMMIT failed must be given back, too.
            with closing(self._database.borrow()) as connection:
                publication = publish(connection.cursor(), request, read, batches)
                connection.commit()
            return publication

    def all_unchanged(
        self,
        request: PublishRequest,
        read: ReadResult,
        batch: pa.Table,
    ) -> Ledger | None:
        """Compare by one query."""
        with self._database.cursor() as cursor:
            return all_unchanged(cursor, request, read, batch)

    def accept_review(
        self,
        entity: Entity,
        key: Sequence[str],
        content_hash: str,
        *,
        catalog: Any,
    ) -> None:
        """In the transaction of the catalog."""
        conditions = [has_accepted_content(content_hash)]
        for column, part in zip(entity.business_keys, key, strict=True):
            conditions.append(f"t.{quote(column.target_name)}::text = {literal(part)}")
        catalog.execute(
            f"UPDATE {target_of(entity)} t SET {REVIEW_COLUMN} = NULL"
            f" WHERE {' AND '.join(conditions)}"
        )

    def duplicate_keys(self, entity: Entity) -> int:
        """None while the key constraint is whole."""
        with self._database.cursor() as cursor:
            return duplicate_keys(cursor, entity)

    def set_aside(self, entity: Entity, suffix: str) -> str | None:
        """Rename the table with its constraints."""
        with self._database.cursor() as cursor:
            kept = set_aside(cursor, entity, suffix)
        return kept.kept_as if kept else None

    def table_name(self, entity: Entity) -> str:
        """database.schema.table."""
        return f"{self._database.name}.{entity.table}"

    def check(self, schema: str) -> str:
        """The role may write to the schema, or make it."""
        with self._database.cursor() as cursor:
            found = check_schema(cursor, schema)
        return f"{found} in {self._database.location}"

    def keys_table(self, connection: Any, entity: Entity) -> str:
        """The table itself."""
        return target_of(entity)

    def rows_table(
        self,
        connection: Any,
        entity: Entity,
        key: tuple[str, ...] | None = None,
    ) -> str:
        """The table itself."""
        return target_of(entity)

    def live_rows(self, entity: Entity) -> Iterator[tuple[Any, ...]]:
        """By a cursor of the server."""
        columns = ", ".join(quote(column.target_name) for column in entity.columns)
        with self._database.borrow() as connection, connection.cursor("live_rows") as cursor:
            cursor.itersize = 20_000
            statement = f"SELECT {columns} FROM {target_of(entity)} WHERE NOT _bridge_deleted"
            yield from cursor.execute(statement)


def _publish_streamed(
    stream: RecordStream,
    request: PublishRequest,
    read: ReadResult,
    batches: StagedBatches,
) -> Publication:
    """Publish on the stream's connection; records that cannot fill the target directly go through staging."""
    connection = stream.connection
    if stream.fills and stream.refusal is None:
        try:
            publication = publish(
                connection.cursor(),
                request,
                read,
                batches,
                stream=stream,
                fills=True,
            )
            connection.commit()
            return publication
        except KeyTwiceError as error:
            logger.info("%s goes through staging: %s", request.entity.table, error)
            connection.rollback()
    publication = publish(connection.cursor(), request, read, batches, stream=stream)
    connection.commit()
    return publication
