"""A world whose tables are in a file of duckdb, written by dlt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import duckdb

from sync_pipelines.catalog.database import Database
from sync_pipelines.settings import Settings
from sync_pipelines_tests.world import World, by_business_key


@dataclass
class DuckdbWorld(World):
    """The same world; the file is opened by nobody else between the runs."""

    file: Path = field(default=Path("unset"))

    @classmethod
    @contextmanager
    def open_in(cls, database: Database, settings: Settings, file: Path) -> Iterator[Self]:
        """Start an empty twin and register it for duckdb."""
        options = {"credentials": str(file)}
        with cls.open(
            database, settings, destination="duckdb", destination_settings=options
        ) as world:
            world.file = file
            yield world

    def table(self, slug: str = "items") -> str:
        """The quoted table of an entity."""
        entity = self.entity(slug)
        return f'"{entity.target_schema}"."{entity.target_table}"'

    def all_rows(self, slug: str = "items", where: str = "true") -> list[dict[str, Any]]:
        """Rows as dictionaries, typed as PostgreSQL shows them."""
        if not self.has_table(slug):
            return []
        with duckdb.connect(str(self.file)) as connection:
            cursor = connection.execute(f"SELECT * FROM {self.table(slug)} WHERE {where}")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return [{**row, "_bridge_id": UUID(row["_bridge_id"])} for row in rows]

    def rows(
        self, slug: str = "items", *, deleted: bool = False
    ) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Rows of the target by business key; live ones unless `deleted`."""
        return by_business_key(
            self.entity(slug), self.all_rows(slug, f"_bridge_deleted = {deleted}")
        )

    def change_row(self, key: str, **values: str) -> None:
        changes = ", ".join(f"{name} = '{value}'" for name, value in values.items())
        with duckdb.connect(str(self.file)) as connection:
            connection.execute(f"UPDATE {self.table()} SET {changes} WHERE item_number = '{key}'")

    def has_table(self, slug: str = "items") -> bool:
        entity = self.entity(slug)
        if not self.file.exists():
            return False
        with duckdb.connect(str(self.file)) as connection:
            found = connection.execute(
                "SELECT count(*) FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
                [entity.target_schema, entity.target_table],
            ).fetchone()
        return bool(found and found[0])

    def state(self, slug: str = "items") -> Any:
        """Everything that a sync may change: cursor, marks, row count and the whole table."""
        entity = self.entity(slug)
        return (
            entity.position.cursor,
            entity.position.cursor_marks,
            entity.position.row_count,
            sorted(map(str, self.all_rows(slug))),
        )

    def assert_nothing_left_behind(self, slug: str = "items") -> None:
        """As in PostgreSQL, and no mirror."""
        entity = self.entity(slug)
        assert [run["status"] for run in self.runs(slug) if run["status"] == "running"] == []
        mirrors = self.sql(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s",
            f"{entity.target_schema}_mirror",
        )
        assert mirrors == []
