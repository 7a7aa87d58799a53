"""The table's rows in the control database while a run publishes, so that every rule of PostgreSQL's publish holds.

The mirror is a table of the publish transaction: it is made, compared, written and dropped there, and nobody else sees
it. What a run changed in it is what dlt gets to merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from sync_pipelines.batches.arrays import from_canonical
from sync_pipelines.catalog.stored_columns import read_columns
from sync_pipelines.destinations.anydlt.warehouse import READ_ROWS, Warehouse
from sync_pipelines.destinations.postgres.publish import PostgresTable, Staged
from sync_pipelines.destinations.postgres.target import constraint_statements
from sync_pipelines.destinations.publish import Written
from sync_pipelines.destinations.values import canonical_text
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.model.entity import BRIDGE_COLUMNS, OPTIONAL_COLUMNS, Entity
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.types import Kind

_MOMENTS = ("_bridge_created_at", "_bridge_updated_at", "_bridge_rejected_at")
_KNOWN = "known_rows"


def mirrored(entity: Entity) -> Entity:
    """The entity with its table, and its staging, in schemas of the control database that are kept for mirrors."""
    return replace(entity, target_schema=shorten_identifier(f"{entity.target_schema}_mirror"))


def make_mirror(cursor: Any, mirror: Entity, warehouse: Warehouse) -> None:
    """Make the mirror and fill it with the rows of the table; remember which they are.

    Args:
        cursor: of the publish transaction.
        mirror: from `mirrored`.
        warehouse: where the table is.
    """
    target = quote(mirror.target_schema, mirror.target_table)
    make_table(cursor, f"TABLE {target}", mirror)
    fill_table(cursor, target, mirror, warehouse)
    for statement in constraint_statements(mirror):
        cursor.execute(statement)
    cursor.execute(
        f"CREATE TEMP TABLE {_KNOWN} ON COMMIT DROP AS SELECT ctid AS place FROM {target}"
    )


def make_table(cursor: Any, what: str, entity: Entity, ending: str = "") -> None:
    """Make a table with the entity's columns and ours; any column of the source may be null.

    Args:
        cursor: of an open transaction.
        what: `TABLE name` or `TEMP TABLE name`.
        entity: whose columns.
        ending: what follows the columns, such as ` ON COMMIT DROP`.
    """
    columns = [f"{quote(column.target_name)} {column.type.sql}" for column in entity.columns]
    columns += BRIDGE_COLUMNS.values()
    columns += [
        f"{name} {kind}"
        for name, kind in OPTIONAL_COLUMNS.items()
        if name in entity.position.own_columns
    ]
    cursor.execute(f"CREATE {what} ({', '.join(columns)}){ending}")


def fill_table(
    cursor: Any, target: str, entity: Entity, warehouse: Warehouse, where: str = "1 = 1"
) -> None:
    """Copy rows of the warehouse into a table of `make_table`; columns that the warehouse does not have stay null."""
    there = warehouse.types().keys()
    names = [column.target_name for column in entity.columns if column.target_name in there]
    names += [
        name for name in [*BRIDGE_COLUMNS, *sorted(entity.position.own_columns)] if name in there
    ]
    if "_bridge_id" not in there:
        return
    statement = f"COPY {target} ({', '.join(quote(name) for name in names)}) FROM STDIN"
    with cursor.copy(statement) as copy:
        for row in warehouse.rows(names, where):
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
        return replace(written, details={**written.details, "dlt": self._load})

    def count_rows(self, written: Written) -> int:
        """Count, and let dlt load what changed: the last step before the books are closed."""
        rows = super().count_rows(written)
        changed = self.merge.number(f"SELECT count(*) FROM ({self._changed()}) c")
        if changed:
            self._load |= {"rows": changed, "load_id": self._warehouse.merge(self._batches())}
        return rows

    def leave(self, rejected: int) -> None:
        """Drop the mirror."""
        super().leave(rejected)
        self.merge.execute(f"DROP TABLE {self.merge.target}")

    def _changed(self) -> str:
        """Rows that were inserted or updated, so that they are at a place where none was before."""
        texts = [
            canonical_text(f"t.{quote(column.target_name)}", column.type.kind)
            for column in self.entity.columns
        ]
        own = [
            canonical_text(f"t.{name}", Kind.TIMESTAMPTZ if name in _MOMENTS else Kind.TEXT)
            for name in self._own_names
        ]
        columns = ", ".join(f"{value} AS v{place}" for place, value in enumerate([*texts, *own]))
        return (
            f"SELECT {columns} FROM {self.merge.target} t LEFT JOIN {_KNOWN} k ON k.place = t.ctid"
            " WHERE k.place IS NULL"
        )

    @cached_property
    def _own_names(self) -> list[str]:
        """Columns of ours; a run adds the mark of rejected rows when it needs it first."""
        there = read_columns(self.cursor, self.entity.target_schema, self.entity.target_table)
        return [*BRIDGE_COLUMNS, *(name for name in OPTIONAL_COLUMNS if name in there)]

    def _batches(self) -> Iterator[pa.Table]:
        self.cursor.execute(self._changed())
        while rows := self.cursor.fetchmany(READ_ROWS):
            yield self._as_arrow(list(zip(*rows, strict=True)))

    def _as_arrow(self, values: list[tuple[Any, ...]]) -> pa.Table:
        columns = self.entity.columns
        arrays = {
            column.target_name: from_canonical(list(texts), column.type)
            for column, texts in zip(columns, values, strict=False)
        }
        arrays |= dict(_own_arrays(zip(self._own_names, values[len(columns) :], strict=True)))
        return pa.table(arrays)


def _own_arrays(columns: Iterable[tuple[str, tuple[Any, ...]]]) -> Iterator[tuple[str, pa.Array]]:
    for name, texts in columns:
        array = pa.array(texts, pa.string())
        if name == "_bridge_deleted":
            array = array.cast(pa.bool_())
        elif name in _MOMENTS:
            array = array.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        yield name, array
