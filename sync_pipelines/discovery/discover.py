"""Ask a source what it offers and bring the catalog to it; nothing is ever dropped."""

from __future__ import annotations

from collections.abc import Collection

from sync_pipelines.catalog.connectors import (
    get_connector,
    record_discovery,
    stored_declaration,
    update_declaration,
)
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import list_entities
from sync_pipelines.discovery.apply import CatalogUpdate, Offer
from sync_pipelines.discovery.report import DiscoveryReport
from sync_pipelines.errors import NotFoundError, SourceContractError, SyncError
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.entity import Connector, EntityStatus
from sync_pipelines.settings import Settings, load_settings
from sync_pipelines.sources.descriptions import parse_apis
from sync_pipelines.sources.registry import source_kind


def discover(
    database: Database,
    connector_name: str,
    *,
    accept: tuple[str, ...] = (),
    settings: Settings | None = None,
) -> DiscoveryReport:
    """Discover the APIs of a connector.

    Args:
        database: where the catalog is.
        connector_name: the connector.
        accept: slugs whose breaking changes are accepted: their table is renamed and kept, a new one is built by
            reading everything again.
        settings: the process settings when None.

    Raises:
        SyncError: the source cannot be asked; the catalog is as before, with the reason on the connector.
    """
    settings = settings or load_settings()
    connector = get_connector(database, connector_name)
    try:
        offer, declaration = _ask(database, connector, settings)
        _check_accepted(accept, offer.entities)
        if not offer.entities:
            _check_nothing_known(database, connector_name, offer)
    except SyncError as error:
        record_discovery(database, connector, error)
        raise error.at(connector=connector_name) from error
    report = _apply(database, connector, offer, declaration, accept)
    if report is None:
        # A file was applied, or a run followed a field, while the source was asked: the answer is out of date.
        return discover(database, connector_name, accept=accept, settings=settings)
    record_discovery(database, connector, None)
    return report


def _apply(
    database: Database,
    connector: Connector,
    offer: Offer,
    declaration: Declaration | None,
    accept: Collection[str],
) -> DiscoveryReport | None:
    """Bring the catalog to the offer; None where the connector's file is another one by now."""
    report = DiscoveryReport(connector.name)
    lock = f"discover:{connector.uid}"
    with database.connect() as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
        if stored_declaration(connection, connector) != connector.declaration:
            return None
        # Read under the lock: another discovery may just have stored them.
        known = list_entities(database, connector.name)
        stored = {entity.slug: entity for entity in known}
        update = CatalogUpdate(database, connection, connector, report)
        errors = update.apply(stored, offer, accept)
        for slug, error in errors.items():
            report.invalid[slug] = _in_words(error)
        if declaration is not None:
            described = declaration.as_json()
            update_declaration(connection, connector, connector.declaration, described)
    return report


def _ask(
    database: Database,
    connector: Connector,
    settings: Settings,
) -> tuple[Offer, Declaration | None]:
    """What the source offers, and the declaration as it is now, where there is one."""
    described = source_kind(connector).describe(connector, settings, database)
    entities, errors = parse_apis(described.apis, connector, settings)
    return Offer(entities, errors, described.left_out), described.declaration


def _in_words(error: SyncError) -> str:
    if error.next_command:
        return f"{error.what} Next: {error.next_command}"
    return error.what


def _check_accepted(accept: Collection[str], entities: Collection[str]) -> None:
    unknown = [slug for slug in accept if slug not in entities]
    if unknown:
        raise NotFoundError(
            f"The source does not offer {unknown[0]!r} in a usable form.",
            state="Nothing was changed.",
        )


def _check_nothing_known(
    database: Database,
    connector_name: str,
    offer: Offer,
) -> None:
    active = []
    for entity in list_entities(database, connector_name):
        if entity.status is EntityStatus.ACTIVE:
            active.append(entity.slug)
    if not active or any(slug in offer.errors for slug in active):
        return
    why = ""
    for slug in active:
        if slug in offer.left_out:
            why = f" {slug} is left out: {offer.left_out[slug]}"
            break
    raise SourceContractError(
        f"The source lists no usable API at all, but the catalog has {len(active)}; that is taken for a fault.{why}",
        state="The catalog is as before.",
        next_command=f"sync-pipelines connector test {connector_name}",
    )
