"""A twin with declared endpoints, a database, and connector files as tests write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.declare.connector_file import load_declaration, validate
from sync_pipelines.declare.plan import ConnectorPlan, apply_connector, plan_connector
from sync_pipelines.declare.source_file import SourceFile
from sync_pipelines.demo.twin import TwinServer, TwinStore
from sync_pipelines.demo.twin.rest import RestEndpoint, RestTwin
from sync_pipelines.discovery.report import DiscoveryReport
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.settings import Settings
from sync_pipelines_tests.world import TOKEN, World

BEARER = {"type": "bearer", "token": "env:TWIN_TOKEN"}
COLUMNS = [
    {"name": "id", "type": "bigint", "key": True},
    {"name": "name", "type": "text"},
    {"name": "amount", "type": "numeric"},
    {"name": "updated_at", "type": "timestamptz"},
]


def user(number: int, **changes: Any) -> dict[str, Any]:
    """One record of a declared endpoint; its updated_at grows with the number."""
    moment = f"2024-06-30T{10 + number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"
    return {
        "id": number,
        "name": f"user {number}",
        "amount": number / 4,
        "updated_at": moment,
        **changes,
    }


def users(count: int) -> list[dict[str, Any]]:
    """So many records."""
    return [user(number) for number in range(1, count + 1)]


@dataclass
class DeclaredWorld(World):
    """As `World`; the connector is called `shop` unless a file says otherwise."""

    connector: str = "shop"

    @classmethod
    @contextmanager
    def open(cls, database: Database, settings: Settings) -> Iterator[DeclaredWorld]:
        """Start a twin without any endpoint."""
        store = TwinStore()
        with TwinServer(store, token=TOKEN) as server:
            yield cls(database, settings, store, server)

    @property
    def rest(self) -> RestTwin:
        """The endpoints."""
        return self.server.rest

    def serve(self, count: int = 0, path: str = "/users", **options: Any) -> RestEndpoint:
        """Serve an endpoint with so many users."""
        options.setdefault("records", users(count))
        return self.rest.add(RestEndpoint(path, **options))

    def declare(
        self, *, auth: Any = BEARER, slug: str = "users", **endpoint: Any
    ) -> dict[str, Any]:
        """The data of a connector file with one endpoint."""
        declared = {"path": "/users", "columns": COLUMNS, **endpoint}
        declared = {name: value for name, value in declared.items() if value is not None}
        data = {
            "name": self.connector,
            "kind": "rest",
            "base_url": self.server.url,
            "endpoints": {slug: declared},
        }
        return {**data, "limits": {"backoff_seconds": 0.01}, **({"auth": auth} if auth else {})}

    def plan(self, data: dict[str, Any], **options: Any) -> ConnectorPlan:
        """What applying it would change."""
        return plan_connector(
            self.database, validate(data, SourceFile("test.yaml", data)), self.settings, **options
        )

    def apply(self, data: dict[str, Any], **options: Any) -> DiscoveryReport:
        """Apply a connector file."""
        return apply_connector(self.database, self.plan(data, **options), self.settings)

    def apply_endpoint(self, **endpoint: Any) -> DiscoveryReport:
        """Apply a connector file with one endpoint, called `users`."""
        return self.apply(self.declare(**endpoint))

    def apply_shipped(self, name: str, **inputs: str) -> Declaration:
        """Apply a connector file that comes with the program, pointed at the twin."""
        declaration = load_declaration(name, inputs, base_url=self.server.url)
        self.connector = declaration.name
        plan = plan_connector(self.database, declaration, self.settings)
        assert plan.invalid == {}
        apply_connector(self.database, plan, self.settings)
        self.assert_applied_once(declaration)
        return declaration

    def assert_applied_once(self, declaration: Declaration) -> None:
        """Applying a file again changes nothing."""
        again = plan_connector(self.database, declaration, self.settings)
        assert again.is_empty, again
        assert get_connector(self.database, declaration.name).kind == declaration.kind

    def table(self, slug: str = "users") -> dict[Any, dict[str, Any]]:
        """Live rows without our own columns, by the first key column."""
        return {
            key[0]: {name: value for name, value in row.items() if not name.startswith("_bridge_")}
            for key, row in self.rows(slug).items()
        }

    def requests(self, path: str | None = None) -> list[Any]:
        """Requests that the twin got, in order."""
        return [one for one in self.server.requests_log if path is None or one.path == path]

    def sql_dicts(self, statement: str) -> list[dict[str, Any]]:
        """Rows of a query by column name."""
        with psycopg.connect(self.database.url, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(statement).fetchall()  # type: ignore[call-overload]
