"""Read one resource of a dlt source in its own order."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import requests
from dlt.common.configuration.container import Container
from dlt.common.pipeline import StateInjectableContext
from dlt.extract import DltResource, DltSource

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.page import Page
from sync_pipelines.errors import (
    SettingsError,
    SourceContractError,
    SourceUnreachableError,
    SyncError,
)
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.network.outbound import Outbound, of_connector
from sync_pipelines.secrets import is_reference, printable, resolve_secret
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.declared.endpoints import declaration_of
from sync_pipelines.sources.declared.layout import DeclaredLayout
from sync_pipelines.sources.dlt_resource.items import pages_of, records_of
from sync_pipelines.sources.dlt_resource.start import begin_at, behind, cursor_path
from sync_pipelines.sources.http.traffic import Traffic
from sync_pipelines.sources.source import WalkedSource

INCREMENTAL = "incremental"
"""The `param` of a cursor: it is the start of dlt's incremental."""
_SILENT = (
    ConnectionError,
    TimeoutError,
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
)


def call_source(
    place: str,
    arguments: Mapping[str, Any],
    outbound: Outbound,
    base_url: str,
) -> Any:
    """What a source or resource function returns.

    Args:
        place: `module.function`.
        arguments: of the function; `env:NAME`, however deep inside, is replaced by the value of a variable.
        outbound: which secrets may go to the address.
        base_url: the address that the source asks.

    Raises:
        SettingsError: there is no such function, or it is none of dlt's.
        SecretMissingError, GuardError: a secret that is not there, or must not go to the address.
    """
    module, _, name = place.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"The source {printable(place)} cannot be imported: {printable(str(error), 200)}.",
            state="Nothing was read.",
            next_command="install the package of the source, or put its folder on PYTHONPATH",
        ) from None
    _check_callable(function, place)
    given = {}
    for argument, value in arguments.items():
        given[argument] = _resolved(value, outbound, base_url)
    try:
        with _own_state():
            return function(**given)
    except SyncError:
        raise
    except Exception as error:  # noqa: BLE001 - the code of somebody else
        raise _refusal(error, place) from None


def _own_state() -> AbstractContextManager[Any]:
    """Without the state of a pipeline that may be at work around us: the cursor is in the catalog."""
    return Container().injectable_context(StateInjectableContext(state={}))


def _check_callable(function: Any, place: str) -> None:
    """Refuse a source that was made once: it is read to its end by the first run, and the next one gets nothing."""
    if not callable(function):
        raise _made_once(place)
    if isinstance(function, DltResource) and function.args_bound:
        raise _made_once(place)


def _made_once(place: str) -> SettingsError:
    return SettingsError(
        f"The source {printable(place)} is no function that makes a source or a resource anew, but one that was made"
        " already, and that can be read only once.",
        state="Nothing was read.",
        next_command="name a function that returns a new one, decorated with @dlt.source or @dlt.resource, as `source`",
    )


def _resolved(value: Any, outbound: Outbound, base_url: str) -> Any:
    if is_reference(value):
        outbound.check_secret(value, base_url)
        return resolve_secret(value)
    if isinstance(value, Mapping):
        resolved = {}
        for name, inner in value.items():
            resolved[name] = _resolved(inner, outbound, base_url)
        return resolved
    if isinstance(value, list):
        return [_resolved(inner, outbound, base_url) for inner in value]
    return value


def find_resource(made: Any, name: str, place: str) -> DltResource:
    """The resource of a name.

    Raises:
        SettingsError: there is none.
    """
    if isinstance(made, DltResource):
        if made.name != name:
            raise SettingsError(
                f"{printable(place)} gives the resource {printable(made.name)!r} and not {printable(name)!r}.",
                state="Nothing was read.",
                next_command=f"write `resource: {printable(made.name)}` where it is the one that is meant",
            )
        return made
    if not isinstance(made, DltSource):
        raise SettingsError(
            f"{printable(place)} gives no source and no resource of dlt.", state="Nothing was read."
        )
    if made.exhausted:
        raise _made_once(place)
    if name not in made.resources:
        known = ", ".join(made.resources)
        raise SettingsError(
            f"The source {printable(place)} has no resource {printable(name)!r}; it has {printable(known, 300)}.",
            state="Nothing was read.",
        )
    return made.resources[name]


def _refusal(error: BaseException, place: str) -> SyncError:
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        if isinstance(cause, SyncError):
            return cause
        cause = cause.__cause__ or cause.__context__
    last = chain[-1]
    message = printable(str(last), 300)
    excerpt = f"{type(last).__name__}: {message}"
    if any(isinstance(one, _SILENT) for one in chain):
        return SourceUnreachableError(
            f"The source {printable(place)} could not reach its API", excerpt=excerpt
        )
    return SourceContractError(f"The source {printable(place)} failed", excerpt=excerpt)


@dataclass(frozen=True)
class DeclaredResource:
    """A resource as its connector file names it.

    Attributes:
        place: `module.function` of its source.
        name: of the resource.
        endpoint: its declaration.
    """

    place: str
    name: str
    endpoint: Endpoint

    @classmethod
    def of(cls, declaration: Declaration, slug: str) -> DeclaredResource:
        """The resource of an endpoint."""
        endpoint = declaration.endpoints[slug]
        return cls(
            place=declaration.source or "",
            name=endpoint.resource or slug,
            endpoint=endpoint,
        )


class DltResourceSource(WalkedSource):
    """One resource.

    Args:
        context: what to read.
        endpoint: the entity's declaration.
    """

    def __init__(self, context: ReadContext, endpoint: Endpoint) -> None:
        entity = context.entity
        self._connector = context.connector
        self._outbound = of_connector(context.connector, context.settings)
        self._declaration = declaration_of(context.connector)
        self._resource = DeclaredResource.of(self._declaration, entity.slug)
        self._max_pages = context.max_pages
        self.page_size = entity.policy.page_size or context.settings.sources.max_page_size
        self._codec = entity.position.cursor_codec
        self.layout = DeclaredLayout(endpoint, entity.columns, context.masked)

    def _call(self) -> Any:
        place = self._resource.place
        arguments = self._declaration.arguments
        return call_source(
            place,
            arguments,
            self._outbound,
            self._connector.base_url,
        )

    def walk(
        self,
        decoder: PageDecoder,
        after: str | None,
        traffic: Traffic,
        before: Callable[[], int],
    ) -> Iterator[Page]:
        """As `WalkedSource.walk`."""
        # Before each page, so that a cancelled run stops the resource and not only the table.
        number = before()
        bodies = bodies_of(
            self._call(),
            self._resource,
            self.page_size,
            after,
            self._codec,
        )
        for asked, body in enumerate(bodies, 1):
            if asked > self._max_pages:
                raise SourceContractError(
                    f"The resource gave {asked} pages in one read without coming to an end.",
                    next_command="raise MAX_PAGES if it really holds that much",
                )
            traffic.bytes_decoded += len(body)
            yield decoder.decode(number, body)
            number = before()


def bodies_of(
    made: Any,
    declared: DeclaredResource,
    page_size: int,
    after: str | None = None,
    codec: Codec | None = None,
) -> Iterator[bytes]:
    """The records of a resource as pages of JSON; of those before a cursor, none that its codec knows as such.

    Raises:
        SyncError: the resource failed.
    """
    resource = find_resource(made, declared.name, declared.place)
    endpoint = declared.endpoint
    try:
        if endpoint.cursor is not None:
            begin_at(resource, endpoint, after)
        with _own_state():
            items = iter(resource)
        records = records_of(items)
        if endpoint.cursor is not None:
            path = cursor_path(endpoint)
            records = behind(records, path, codec, after)
        yield from pages_of(records, page_size)
    except SyncError:
        raise
    except Exception as error:  # noqa: BLE001 - the code of somebody else
        raise _refusal(error, declared.place) from None
