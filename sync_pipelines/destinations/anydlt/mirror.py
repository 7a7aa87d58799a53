"""The table's rows in the control database while a run publishes, so that every rule of PostgreSQL's publish holds.

The mirror is a table of the publish transaction: it is made, compared, written and dropped there, and nobody else sees
it. What a run changed in it is what dlt gets to merge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from sync_pipelines.batches.arrays import from_canonical
from sync_pipelines.catalog.stored_columns import read_columns
from sync_pipelines.destinations.anydlt.warehouse import READ_ROWS, Warehouse
from sync_pipelines.destinations.drift import own_definitions
from sync_pipelines.destinations.postgres.publish import PostgresTable, Staged
from sync_pipelines.destinations.postgres.target import constraint_statements
from sync_pipelines.destinations.publish import Written
from sync_pipelines.destinations.values import canonical_text
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.model.entity import BRIDGE_COLUMNS, OPTIONAL_COLUMNS, Entity
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.tables import target_of
from sync_pipelines.model.types import Kind

_MOMENTS = ("_bridge_created_at", "_bridge_updated_at", "_bridge_rejected_at")
_KNOWN = "known_rows"


def mirrored(entity: Entity) -> Entity:
    """The entity with its table, and its staging, in schemas of the control database that are kept for mirrors."""
    return replace(entity, target_schema=shorten_identifier(f"{entity.target_schema}_mirror"))


def make_mirror(
    cursor: Any,
    mirror: Entity,
    warehouse: Warehouse,
) -> None:
    """Make the mirror and fill it with the rows of the table; remember which they are.

    Args:
        cursor: of the publish transaction.
        mirror: from `mirrored`.
        warehouse: where the table is.
    """
    target = target_of(mirror)
    _make_table(cursor, target, mirror)
    _fill_table(cursor, target, mirror, warehouse)
    for statement in constraint_statements(mirror):
        cursor.execute(statement)
    cursor.execute(
        f"CREATE TEMP TABLE {_KNOWN} ON COMMIT DROP AS SELECT ctid AS place FROM {target}"
    )


def _make_table(cursor: Any, target: str, entity: Entity) -> None:
    """Make a table with the entity's columns and ours; any column of the source may be null."""
    columns = [f"{quote(column.target_name)} {column.type.sql}" for column in entity.columns]
    columns += BRIDGE_COLUMNS.values()
    columns += own_definitions(entity, OPTIONAL_COLUMNS)
    cursor.execute(f"CREATE TABLE {target} ({', '.join(columns)})")


def _fill_table(
    cursor: Any,
    target: str,
    entity: Entity,
    warehouse: Warehouse,
) -> None:
    """Copy the rows of the warehouse; columns that the warehouse does not have stay null."""
    there = warehouse.types().keys()
    if "_bridge_id" not in there:
        return
    wanted = [column.target_name for column in entity.columns]
    wanted += BRIDGE_COLUMNS
    wanted += sorted(entity.position.own_columns)
    names = [name for name in wanted if name in there]
    columns = ", ".join(quote(name) for name in names)
    with cursor.copy(f"COPY {target} ({columns}) FROM STDIN") as copy:
        for row in warehouse.rows(names):
            copy.write_row(row)


class MirrorTable(PostgresTable):
    """The mirror for `destinations.publish.publish_table`; before the books are closed dlt merges what changed."""

    def __init__(
        self,
        cursor: Any,
        request: PublishRequest,
        read: ReadResult,
        came: Staged,
        *,
        warehouse: Warehouse,
    ) -> None:
        super().__init__(cursor, request, read, came)
        self._warehouse = warehouse
        self._load: dict[str, Any] = {}

    def write(self, counts: Counts) -> Written:
        """Write into the mirror."""
        written = super().write(counts)
        # The load comes after the marks of rejected rows; its figures are filled in then.
        details = {**written.details, "dlt": self._load}
        return replace(written, details=details)

    def deliver(self) -> None:
        """Let dlt load what changed."""
        changed = self.merge.number(f"SELECT count(*) FROM ({self._changed()}) c")
        if changed:
            load_id = self._warehouse.merge(self._batches())
            self._load |= {"rows": changed, "load_id": load_id}

    def leave(self, rejected: int) -> None:
        """Drop the mirror."""
        super().leave(rejected)
        self.merge.execute(f"DROP TABLE {self.merge.target}")

    def _changed(self) -> str:
        """Rows that were inserted or updated, so that they are at a place where none was before."""
        values = []
        for column in self.entity.columns:
            name = f"t.{quote(column.target_name)}"
            text = canonical_text(name, column.type.kind)
            values.append(text)
        for name in self._own_names:
            kind = Kind.TIMESTAMPTZ if name in _MOMENTS else Kind.TEXT
            text = canonical_text(f"t.{name}", kind)
            values.append(text)
        named = [f"{value} AS v{place}" for place, value in enumerate(values)]
        columns = ", ".join(named)
        return (
            f"SELECT {columns} FROM {self.merge.target} t LEFT JOIN {_KNOWN} k ON k.place = t.ctid"
            " WHERE k.place IS NULL"
        )

    @cached_property
    def _own_names(self) -> list[str]:
        """Columns of ours; a run adds the mark of rejected rows when it needs it first."""
        entity = self.entity
        there = read_columns(self.cursor, entity.target_schema, entity.target_table)
        optional = [name for name in OPTIONAL_COLUMNS if name in there]
        return [*BRIDGE_COLUMNS, *optional]

    def _batches(self) -> Iterator[pa.Table]:
        self.cursor.execute(self._changed())
        while rows := self.cursor.fetchmany(READ_ROWS):
            texts = list(zip(*rows, strict=True))
            yield self._as_arrow(texts)

    def _as_arrow(self, texts: list[tuple[Any, ...]]) -> pa.Table:
        """Rows as dlt takes them.

        Args:
            texts: those of each column, as `_changed` orders them.
        """
        remaining = iter(texts)
        arrays = {}
        for column in self.entity.columns:
            content = list(next(remaining))
            arrays[column.target_name] = from_canonical(content, column.type)
        for name in self._own_names:
            own = next(remaining)
            arrays[name] = _own_array(name, own)
        return pa.table(arrays)


def _own_array(name: str, texts: tuple[Any, ...]) -> pa.Array:
    """A column of ours."""
    array = pa.array(texts, pa.string())
    if name == "_bridge_deleted":
        return array.cast(pa.bool_())
    if name in _MOMENTS:
        local = array.cast(pa.timestamp("us"))
        return local.cast(pa.timestamp("us", "UTC"))
    return array
