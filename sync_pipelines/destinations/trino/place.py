"""Where the table of an entity is in Trino."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import literal


@dataclass(frozen=True)
class Place:
    """The table of an entity in a catalog of Trino."""

    session: Session
    catalog: str
    entity: Entity

    @property
    def table(self) -> str:
        """The quoted table."""
        return self.beside(self.entity.target_table)

    def beside(self, name: str) -> str:
        """A quoted table of a name in the same schema."""
        return quote(self.catalog, self.entity.target_schema, name)

    def of(self, entity: Entity) -> Place:
        """The same table of the entity as it is now."""
        return replace(self, entity=entity)

    def is_empty(self) -> bool:
        """Whether the table has no row, not even a deleted one."""
        return not self.session.query(f"SELECT 1 FROM {self.table} LIMIT 1")

    def columns(self, name: str | None = None) -> dict[str, str]:
        """Types of the columns as Trino spells them, by name; empty when there is no such table.

        Args:
            name: of another table in the same schema; the entity's own when None.
        """
        schema = self.entity.target_schema.lower()
        table = (name or self.entity.target_table).lower()
        rows = self.session.query(
            f"SELECT column_name, data_type FROM {quote(self.catalog)}.information_schema.columns"
            f" WHERE table_schema = {literal(schema)} AND table_name = {literal(table)}"
            " ORDER BY ordinal_position"
        )
        return {name: data_type for name, data_type in rows}
