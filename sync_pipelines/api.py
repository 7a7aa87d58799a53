"""What a program does with sync_pipelines: discover a connector, sync an entity. See `sync_pipelines.__all__`."""

from __future__ import annotations

from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.discovery.discover import DiscoveryReport
from sync_pipelines.discovery.discover import discover as discover_connector
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


def discover(connector: str, *, accept: tuple[str, ...] = (), settings: Settings | None = None) -> DiscoveryReport:
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
