"""A twin, a database and the oracle: whatever happened, the table must equal the truth minus quarantine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import psycopg
import pytest
from psycopg.rows import dict_row

from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.catalog.quarantine import list_quarantine
from sync_pipelines.catalog.runs import list_runs
from sync_pipelines.demo.twin import FaultPlan, TwinColumn, TwinServer, TwinStore, TwinTable
from sync_pipelines.discovery.discover import discover
from sync_pipelines.discovery.report import DiscoveryReport
from sync_pipelines.errors import SyncError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.run import RunResult, RunStatus
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.settings import Settings

TOKEN = "twin-token"
ITEM_COLUMNS = (
    TwinColumn("item_number", "VARCHAR(50)", is_nullable=False, is_business_key=True),
    TwinColumn("item_description", "TEXT"),
    TwinColumn("base_uom", "VARCHAR(10)"),
    TwinColumn("weight_per_unit", "NUMERIC(10, 3)"),
)


def by_business_key(
    entity: Entity, rows: list[dict[str, Any]]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by business key, each of which is there once."""
    keys = [column.target_name for column in entity.business_keys]
    by_key = {tuple(row[key] for key in keys): row for row in rows}
    assert len(by_key) == len(rows), "a key is there twice"
    return by_key


@dataclass
class World:
    """Everything a scenario needs. The connector is called `erp`."""

    database: Database
    settings: Settings
    store: TwinStore
    server: TwinServer
    connector: str = "erp"

    @classmethod
    @contextmanager
    def open(cls, database: Database, settings: Settings, **connector: Any) -> Iterator[Self]:
        """Start an empty twin and register it; `connector` goes to `add_connector`."""
        store = TwinStore()
        with TwinServer(store, token=TOKEN) as server:
            add_connector(
                database,
                "erp",
                server.url,
                "env:TWIN_TOKEN",
                settings={"backoff_seconds": 0.01},
                **connector,
            )
            yield cls(database, settings, store, server)

    @property
    def faults(self) -> FaultPlan:
        """What the twin does wrong."""
        return self.server.faults

    def add_items(self, count: int = 0, slug: str = "items", **options: Any) -> TwinTable:
        """SyncFlow's example table with `count` records, discovered."""
        columns = options.pop("columns", ITEM_COLUMNS)
        table = TwinTable(
            slug, "Items", "Product master data", columns, ("item_number",), **options
        )
        for number in range(count):
            table.put(item(number))
        return self.add(table)

    def add(self, table: TwinTable) -> TwinTable:
        """Put any table into the twin and discover it."""
        self.store.add(table)
        self.discover()
        return table

    def discover(self, *accept: str) -> DiscoveryReport:
        """Run a discovery of the connector."""
        return discover(self.database, self.connector, accept=accept, settings=self.settings)

    def sync(
        self, slug: str = "items", *, status: RunStatus = RunStatus.SUCCESS, **options: Any
    ) -> RunResult:
        """Sync one entity. Check that its ledger balances and its status, in the answer and in the database."""
        result = sync_entity(self.database, self.connector, slug, settings=self.settings, **options)
        assert result.ledger.balances, result.ledger
        stored = self.runs(slug)[0]
        assert (result.status, stored["status"]) == (status, status), result.status_reason
        assert stored["records_fetched"] == result.ledger.fetched
        return result

    def fails(self, error: type[SyncError], slug: str = "items", **options: Any) -> SyncError:
        """Sync one entity, expect the error and check that table and cursor stayed as they were."""
        before = self.state(slug)
        with pytest.raises(error) as caught:
            sync_entity(self.database, self.connector, slug, settings=self.settings, **options)
        assert self.state(slug) == before
        return caught.value

    def state(self, slug: str = "items") -> Any:
        """Everything that a sync may change together: cursor, marks, row count and the whole table."""
        entity = self.entity(slug)
        table = quote(entity.target_schema, entity.target_table)
        exists = self.sql("SELECT to_regclass(%s)", table)[0][0] is not None
        rows = self.sql(f"SELECT t::text FROM {table} t ORDER BY _bridge_id") if exists else []
        return entity.position.cursor, entity.position.cursor_marks, entity.position.row_count, rows

    def pass_time(self, seconds: int = 3600, slug: str = "items") -> None:
        """Age the marks of earlier reads, as if so many seconds had passed since."""
        for (marks,) in self.sql("SELECT cursor_marks FROM bridge.entities WHERE slug = %s", slug):
            aged = [
                {**mark, "at": str(datetime.fromisoformat(mark["at"]) - timedelta(seconds=seconds))}
                for mark in marks
            ]
            self.set(slug, cursor_marks=json.dumps(aged))

    def assert_nothing_left_behind(self, slug: str = "items") -> None:
        """Oracle (e): no open run, no staged record, no lock of ours, no transaction held open."""
        entity = self.entity(slug)
        assert [run["status"] for run in self.runs(slug) if run["status"] == "running"] == []
        for table in (entity.records_table, entity.rejects_table):
            assert self.sql(f"SELECT count(*) FROM {quote(entity.staging_schema, table)}") == [(0,)]
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database"
        assert self.sql(f"{locks} WHERE datname = current_database())") == [(0,)]
        open_ = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        assert self.sql(open_) == [(0,)]

    def set(self, slug: str = "items", **columns: Any) -> None:
        """Change columns of `bridge.entities` by hand, for example lookback_seconds."""
        names = ", ".join(f"{name} = %({name})s" for name in columns)
        with self.database.connect() as connection:
            connection.execute(
                f"UPDATE entities SET {names} WHERE slug = %(slug)s", {**columns, "slug": slug}
            )

    def entity(self, slug: str = "items") -> Entity:
        """The entity as the catalog has it now."""
        return get_entity(self.database, self.connector, slug)

    def runs(self, slug: str = "items") -> list[dict[str, Any]]:
        """Runs of an entity, newest first."""
        return list_runs(self.database, self.connector, slug, limit=1000)

    def quarantine(self, slug: str = "items") -> list[dict[str, Any]]:
        """Quarantined records of an entity."""
        return list_quarantine(self.database, self.connector, slug, limit=10_000)

    def rows(
        self, slug: str = "items", *, deleted: bool = False
    ) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Rows of the target by business key; live ones unless `deleted`."""
        entity = self.entity(slug)
        with psycopg.connect(self.database.url, row_factory=dict_row) as connection:
            table = quote(entity.target_schema, entity.target_table)
            found = connection.execute(
                f"SELECT * FROM {table} WHERE _bridge_deleted = {deleted}"
            ).fetchall()
        return by_business_key(entity, found)

    def change_row(self, key: str, **values: str) -> None:
        """Change a row of `items` behind our back."""
        changes = ", ".join(f"{name} = '{value}'" for name, value in values.items())
        self.sql(
            f"UPDATE {quote(self.entity().target_schema, 'items')} SET {changes} WHERE item_number = '{key}'"
        )

    def assert_equal_to_truth(self, slug: str = "items") -> None:
        """Oracle (a) and (e) of the promise: table = truth minus quarantined keys; every run has ended."""
        table, rows = self.store[slug], self.rows(slug)
        held = {tuple(row["business_key"]) for row in self.quarantine(slug) if row["business_key"]}
        truth = {
            key: record for key, record in table.truth().items() if tuple(map(str, key)) not in held
        }
        live = {key: row for key, row in rows.items() if tuple(map(str, key)) not in held}
        assert live.keys() == truth.keys()
        for key, record in truth.items():
            shown = {name: live[key][name] for name in record}
            assert comparable(shown) == comparable(record), key
        assert all(run["status"] != RunStatus.RUNNING for run in self.runs(slug))

    @contextmanager
    def session_with(self, options: str) -> Iterator[None]:
        """Let the address of the database set something for our sessions, for example `-c lock_timeout=100ms`."""
        plain, self.database = (
            self.database,
            Database(psycopg.conninfo.make_conninfo(self.database.url, options=options)),
        )
        try:
            yield
        finally:
            self.database = plain

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run any statement; rows of a query."""
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


def item(number: int, **changes: Any) -> dict[str, Any]:
    """One record of SyncFlow's example."""
    return {
        "item_number": f"A{number:05d}",
        "item_description": f"item {number}",
        "base_uom": "PCS",
        "weight_per_unit": number / 8,
        **changes,
    }


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """Values in a form in which 1.50 equals 1.5 and a moment equals its text."""
    from datetime import UTC, date, datetime
    from decimal import Decimal

    def form(value: Any) -> Any:
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, (int, float, Decimal)):
            return Decimal(str(value)).normalize()
        if isinstance(value, datetime):
            return (
                (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
            )
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, (dict, list)):
            return json.dumps(value, sort_keys=True, default=str)
        if (
            isinstance(value, str)
            and len(value) >= 19
            and value[4:5] == "-"
            and value[10:11] in ("T", " ")
        ):
            moment = datetime.fromisoformat(value)
            return (
                (moment if moment.tzinfo else moment.replace(tzinfo=UTC))
                .astimezone(UTC)
                .isoformat()
            )
        return value

    return {name: form(value) for name, value in record.items()}
