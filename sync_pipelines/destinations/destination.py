"""The port `Destination`: what a run asks of the place where its rows go; one folder a destination beside this module.

The catalog (cursor, runs, quarantine, absences) is in PostgreSQL whatever the destination is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from sync_pipelines.books.originals import Originals
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.publish import Publication, PublishRequest, ReadResult
from sync_pipelines.model.run import Ledger


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did to the table in words, whether the table is empty, which optional columns of ours it has, and
    how many letters a record must have for the destination to be able to refuse its row later; None where it refuses
    none.
    """

    changes: tuple[str, ...]
    is_empty: bool
    own_columns: frozenset[str] = frozenset()
    original_characters: int | None = None


class RecordStream(AbstractContextManager["RecordStream"], Protocol):
    """The good records of one run on their way into the destination while they are read."""

    def feed(self, batch: pa.Table, while_waiting: Callable[[], None]) -> None:
        """Hand a batch of records over.

        `while_waiting` is called while the destination is behind, and ends the wait by raising.
        """

    def finish(self, while_waiting: Callable[[], None]) -> None:
        """Wait until everything has arrived."""


@dataclass(frozen=True)
class StagedBatches:
    """What a finished read left for the publish step.

    Attributes:
        spool: every batch of records and rejects.
        originals: records as they were sent, of those that the destination itself may refuse.
        stream: the way on which the good records went already; None where they wait in the spool.
    """

    spool: Spool
    originals: Originals
    stream: RecordStream | None = None


class Destination(Protocol):
    """What a run asks of the place where its rows go."""

    def prepare(
        self,
        entity: Entity,
        *,
        rebuild: bool,
        remask: Remask | None = None,
    ) -> Prepared:
        """Bring target and staging into shape before any data moves; one process at a time per schema.

        Args:
            entity: as its table is to be; optional columns of ours that the table has are kept.
            rebuild: everything is read again.
            remask: what to take out of table and quarantine first.

        Raises:
            SchemaDriftError: the table cannot follow its source without loss.
            ConfigurationError: a business key is to be masked under rows that are there.
        """

    def open_stream(
        self,
        entity: Entity,
        *,
        fills_empty: bool,
        first_rows: int,
    ) -> RecordStream | None:
        """A way for the good records while they are read; None where they wait for the publish step.

        Args:
            entity: whose records.
            fills_empty: the target holds no row.
            first_rows: records in the first batch.
        """

    def publish(
        self,
        request: PublishRequest,
        read: ReadResult,
        batches: StagedBatches,
    ) -> Publication:
        """Publish what was read, which may be nothing: rows, ledger, quarantine, reviews and cursor, all or none.

        Raises:
            SyncError: nothing of it happened, or the run's row records that it did.
        """

    def all_unchanged(
        self,
        request: PublishRequest,
        read: ReadResult,
        batch: pa.Table,
    ) -> Ledger | None:
        """The ledger of a small batch whose every record is in the table as it is; None when one does not."""

    def accept_review(
        self,
        entity: Entity,
        key: Sequence[str],
        content_hash: str,
        *,
        catalog: Any,
    ) -> None:
        """Take the flag off a row that has this content still.

        Args:
            entity: whose row.
            key: the row's business key as `bridge.reviews` has it.
            content_hash: the hash of the content that was accepted.
            catalog: the open transaction that closes the review; a destination in the same database takes part in it.
        """

    def duplicate_keys(self, entity: Entity) -> int:
        """Business keys that are in the table more than once."""

    def set_aside(self, entity: Entity, suffix: str) -> str | None:
        """Rename the table, so that a new one can take the name; returns the new name, None without a table."""

    def table_name(self, entity: Entity) -> str:
        """The table with everything that names it, for people and metadata."""

    def check(self, schema: str) -> str:
        """Say in words that the destination answers; where it can be asked for rights, also that the role has them.

        Only PostgreSQL can be asked without writing. Elsewhere a missing right shows when the first table is made.

        Args:
            schema: of a connector's tables.

        Raises:
            SyncError: it does not answer, or the role may not write.
        """

    def keys_table(self, connection: Any, entity: Entity) -> str:
        """A table in reach of the connection with keys, hashes and rowversions of all rows; the audit compares with it.

        The other columns are there for rows whose hash covers other columns, since those are compared by their content.

        Args:
            connection: of the catalog; a copy lives as long as it.
            entity: whose rows.
        """

    def rows_table(
        self,
        connection: Any,
        entity: Entity,
        key: tuple[str, ...] | None = None,
    ) -> str:
        """A table in reach of the connection with at least the live rows, or the row of a key.

        Args:
            connection: of the catalog, in a transaction; a copy ends with it.
            entity: whose rows.
            key: the business key as texts; all rows when None.
        """

    def live_rows(self, entity: Entity) -> Iterator[tuple[Any, ...]]:
        """Live rows: a value of each declared column, in the Python types of its kind."""
