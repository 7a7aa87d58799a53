"""What a program does with sync_pipelines: discover a connector, sync an entity. See `sync_pipelines.__all__`."""

from __future__ import annotations

from typing import Any

from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.discovery.discover import discover as discover_connector
from sync_pipelines.discovery.report import DiscoveryReport
from sync_pipelines.model.run import RunResult
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.settings import Settings, load_settings


def sync(
    connector: str,
    entity: str,
    *,
    full_refresh: bool = False,
    accept_vanished: bool = False,
    settings: Settings | None = None,
) -> RunResult:
    """Sync one entity into its table and return the balanced ledger of the run.

    Args:
        connector: name of a connector in the catalog.
        entity: one of its entities.
        full_refresh: read everything again, compare, and soft-delete what vanished.
        accept_vanished: delete vanished rows even beyond the configured share.
        settings: of the environment and `.env` when None.

    Raises:
        SyncError: the run failed and published nothing, or there is no such catalog, connector or entity.
    """
    settings = settings or load_settings()
    return sync_entity(
        open_catalog(settings),
        connector,
        entity,
        full_refresh=full_refresh,
        accept_vanished=accept_vanished,
        triggered_by="python",
        settings=settings,
    )


def dlt_source(connector: str, *entities: str, settings: Settings | None = None) -> Any:
    """Entities of a connector as a dlt source, to run into any destination of dlt.

        dlt.pipeline("erp", destination="duckdb").run(sync_pipelines.dlt_source("erp", "items"))

    Each entity is a resource of Arrow tables with the hints of its columns, its business key as primary key, and dlt's
    incremental over the rowversion. Rejects go into a second table (`…__rejects`). The promise is dlt's: at least
    once, position in the state of the pipeline. A row that a source commits late, below the position, comes with a full
    refresh only (`pipeline.run(…, refresh="drop_resources")`), and a row that vanishes there stays.

    Args:
        connector: name of a connector in the catalog.
        entities: some of its entities; all active ones where none is named.
        settings: of the environment and `.env` when None.

    Raises:
        SyncError: there is no such catalog, connector or entity.
    """
    # dlt takes half a second to import.
    from sync_pipelines.runs.as_dlt import make_dlt_source

    settings = settings or load_settings()
    return make_dlt_source(open_catalog(settings), connector, entities, settings)


def discover(
    connector: str, *, accept: tuple[str, ...] = (), settings: Settings | None = None
) -> DiscoveryReport:
    """Ask the source of a connector which APIs it offers, and bring the catalog up to date.

    Args:
        connector: name of a connector in the catalog.
        accept: entities whose breaking changes are accepted; their table is kept under another name.
        settings: of the environment and `.env` when None.

    Raises:
        SyncError: the source cannot be asked; the catalog is as before.
    """
    settings = settings or load_settings()
    return discover_connector(open_catalog(settings), connector, accept=accept, settings=settings)
