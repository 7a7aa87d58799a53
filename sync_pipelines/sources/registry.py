"""The source of an entity, made from its connector's kind and declaration."""

from __future__ import annotations

import functools
import json

import psycopg

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import ConfigurationError, DatabaseRefusedError
from sync_pipelines.model.declaration import Declaration, Endpoint
from sync_pipelines.model.entity import Connector, Entity
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.run import Ledger
from sync_pipelines.settings import Settings
from sync_pipelines.sources.apismith.adapter import ApismithSource
from sync_pipelines.sources.http.connector_session import open_session
from sync_pipelines.sources.http.guarded import Traffic
from sync_pipelines.sources.rest.adapter import DeclaredSource
from sync_pipelines.sources.rest.kept_answers import AnswerCache
from sync_pipelines.sources.rest.translate import id_column
from sync_pipelines.sources.source import Source


def endpoint_of(connector: Connector, slug: str) -> Endpoint | None:
    """The declared endpoint of an entity; None for an APISmith source.

    Raises:
        ConfigurationError: the connector is declared, but not this entity.
    """
    endpoints = connector_endpoints(connector)
    if endpoints is None:
        return None
    endpoint = endpoints.get(slug)
    if endpoint is None:
        raise ConfigurationError(
            f"The connector {connector.name} does not declare {slug} any more.",
            where={"connector": connector.name, "entity": slug},
            next_command=f"sync-pipelines discover {connector.name}",
        )
    return endpoint


def connector_endpoints(connector: Connector) -> dict[str, Endpoint] | None:
    """The declared endpoints of a connector by slug; None for an APISmith source."""
    if connector.declaration is None:
        return None
    return _declaration(json.dumps(connector.declaration, sort_keys=True)).endpoints


@functools.lru_cache(maxsize=100)
def _declaration(text: str) -> Declaration:
    return Declaration.model_validate_json(text)


def open_source(
    database: Database,
    connector: Connector,
    entity: Entity,
    settings: Settings,
    *,
    masked: frozenset[str] = frozenset(),
    keep_answers: bool = False,
) -> Source:
    """The source that an entity is read from.

    Args:
        database: where ids and rows are.
        connector, entity: what to read.
        settings: of the process.
        masked: columns whose values must not rest anywhere, in an error or a kept answer as little as in a table.
        keep_answers: for a run that publishes: go on with what a run that died has fetched, where the endpoint allows
            it.

    Raises:
        ConfigurationError: the declaration cannot be used, or the cursor, which is kept in clear, is masked.
    """
    session = open_session(connector, settings, database)
    session.shows_bodies = session.shows_bodies and not masked
    endpoint = endpoint_of(connector, entity.slug)
    if endpoint is None:
        return ApismithSource(session, entity.slug, entity.page_size or settings.max_page_size)
    if endpoint.cursor is not None and endpoint.cursor.field in masked:
        raise ConfigurationError(
            f"The column {endpoint.cursor.field} of {entity.path} is its cursor, which is kept in clear;"
            " it cannot be masked.",
            where=dict(entity.where),
            next_command="take the mask out of the gate, or the cursor out of the connector's file",
        )
    ids, known = _ids(database, endpoint, entity, masked)
    cache = None
    if keep_answers and not masked and endpoint.resume_seconds is not None:
        cache = AnswerCache(settings.home, entity.uid, endpoint.resume_seconds)
    return DeclaredSource(
        session,
        entity,
        endpoint,
        page_size=page_size_of(endpoint, entity.page_size, settings),
        max_pages=settings.max_pages,
        ids=ids,
        known_ids=known,
        cache=cache,
        masked=masked,
    )


def page_size_of(endpoint: Endpoint, wanted: int | None, settings: Settings) -> int:
    """Records to ask for: what a person set, or the declared size, or ours; never more than the declared most."""
    size = wanted or endpoint.pagination.size or settings.max_page_size
    return min(size, getattr(endpoint.pagination, "max_size", size))


def _ids(
    database: Database, endpoint: Endpoint, entity: Entity, masked: frozenset[str]
) -> tuple[list[str], frozenset[str]]:
    """The ids to ask for, and those that have a live row, as far as the table tells."""
    if endpoint.ids is None:
        return [], frozenset()
    with database.connect() as connection:
        try:
            if endpoint.ids.table is not None:
                schema, table, column = endpoint.ids.table.split(".")
                rows = connection.execute(
                    f"SELECT DISTINCT {quote(column)}::text AS id FROM {quote(schema, table)}"  # noqa: S608
                    f" WHERE {quote(column)} IS NOT NULL ORDER BY 1"
                )
                ids = [row["id"] for row in rows]
            else:
                ids = [str(value) for value in endpoint.ids.values or ()]
        except psycopg.Error as error:
            raise DatabaseRefusedError(
                f"The ids cannot be read from {endpoint.ids.table}: {str(error).splitlines()[0]}.",
                where=dict(entity.where),
            ) from None
        target = quote(entity.target_schema, entity.target_table)
        column = next(one for one in entity.columns if one.name == id_column(endpoint))
        exists = connection.execute("SELECT to_regclass(%s) AS t", [target]).fetchone()
        known: frozenset[str] = frozenset()
        if column.name not in masked and exists is not None and exists["t"] is not None:
            wanted = quote(column.target_name)
            live = f"SELECT {wanted}::text AS id FROM {target} WHERE NOT _bridge_deleted"  # noqa: S608
            rows = connection.execute(live)
            known = frozenset(row["id"] for row in rows)
    return ids, known


def named_metrics(
    endpoint: Endpoint | None, ledger: Ledger, traffic: Traffic, page_size: int, duration_seconds: float
) -> dict[str, float]:
    """A run's figures under the names that the declaration gives them."""
    if endpoint is None or not endpoint.metrics:
        return {}
    figures = {
        **ledger.as_dict(),
        "valid": ledger.fetched - ledger.quarantined,
        "page_size": page_size,
        "requests": traffic.requests,
        "api_seconds_mean": round(sum(traffic.seconds) / len(traffic.seconds), 6) if traffic.seconds else 0.0,
        "api_seconds_p95": round(traffic.percentile_seconds(0.95), 6),
        "api_seconds_max": round(traffic.percentile_seconds(1.0), 6),
        "duration_seconds": round(duration_seconds, 6),
    }
    return {name: figures[source] for name, source in endpoint.metrics.items()}
