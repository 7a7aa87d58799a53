"""The endpoints of a declared connector, as its row of the catalog has them."""

from __future__ import annotations

import functools
import json

from sync_pipelines.errors import ConfigurationError
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.entity import Connector
from sync_pipelines.settings import Settings


def declaration_of(connector: Connector) -> Declaration:
    """The contents of a connector file, with everything resolved."""
    text = json.dumps(connector.declaration, sort_keys=True)
    return _declaration(text)


@functools.lru_cache(maxsize=100)
def _declaration(text: str) -> Declaration:
    return Declaration.model_validate_json(text)


def endpoint_of(connector: Connector, slug: str) -> Endpoint:
    """The endpoint of an entity.

    Raises:
        ConfigurationError: the connector does not declare it any more.
    """
    endpoint = declaration_of(connector).endpoints.get(slug)
    if endpoint is None:
        raise ConfigurationError(
            f"The connector {connector.name} does not declare {slug} any more.",
            where={"connector": connector.name, "entity": slug},
            next_command=f"sync-pipelines discover {connector.name}",
        )
    return endpoint


def page_size_of(
    endpoint: Endpoint,
    wanted: int | None,
    settings: Settings,
) -> int:
    """Records to ask for: what a person set, or the declared size, or ours; never more than the declared most."""
    pagination = endpoint.pagination
    size = wanted or pagination.size or settings.sources.max_page_size
    most = getattr(pagination, "max_size", size)
    return min(size, most)
