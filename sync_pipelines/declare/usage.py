"""What a connector file would use: addresses, variables of the environment, tables and files.

Told before anything is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sync_pipelines.destinations.registry import DEFAULT, kind_of, kind_with_options
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.names import shorten_identifier, table_name_for
from sync_pipelines.network.origins import is_loopback, origin_of, travels_in_clear
from sync_pipelines.network.outbound import addresses_of, wanted_secrets

_REFERENCE = re.compile(rb"\benv:([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True)
class Use:
    """One thing that is used.

    Attributes:
        what: address, variable, table or file.
        name: which one, without any secret.
        why: what for, and what goes there.
    """

    what: str
    name: str
    why: str


@dataclass
class Usage:
    """Everything that a file would use.

    Attributes:
        uses: in the order to show them.
        asks_source: the source is asked already in order to plan.
        is_agreed: a person agreed to the same code, addresses and secrets before; SECRET_ORIGINS may name the latter
            two.
    """

    uses: list[Use] = field(default_factory=list)
    asks_source: bool = False
    is_agreed: bool = False

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "uses": [asdict(use) for use in self.uses],
            "asks_source": self.asks_source,
            "is_agreed": self.is_agreed,
        }


def plan_usage(
    declaration: Declaration,
    connector: Connector,
    stored: Connector | None,
    *,
    base_url_variable: str | None = None,
    bound: Iterable[tuple[str, str]] = (),
    receivers: Mapping[str, str] | None = None,
    gates: Iterable[bytes] = (),
    infer_again: bool = False,
) -> Usage:
    """What applying a declaration would use; nothing is asked and no secret is resolved.

    Args:
        declaration: from the file.
        connector: that it stands for.
        stored: the connector of that name, with what was agreed.
        base_url_variable: where the base URL was read from.
        bound: SECRET_ORIGINS.
        receivers: addresses of webhooks by name, which get messages about its incidents.
        gates: contents of the gate's files that come with it.
        infer_again: take a new sample.
    """
    before = (
        Declaration.model_validate(stored.declaration)
        if stored is not None and stored.declaration
        else None
    )
    usage = Usage(asks_source=_asks_source(declaration, before, infer_again=infer_again))
    usage.is_agreed = _is_agreed(connector, stored, set(bound)) and _is_same_code(
        declaration, before
    )
    usage.uses = [
        *_addresses(declaration, connector, base_url_variable),
        *(
            Use("address", address, f"webhook {name}, gets messages about its incidents")
            for name, address in (receivers or {}).items()
        ),
        *_variables(declaration, connector, base_url_variable, gates),
        *_tables(declaration, connector),
        *_files(declaration),
    ]
    return usage


def _asks_source(
    declaration: Declaration, before: Declaration | None, *, infer_again: bool
) -> bool:
    if declaration.openapi is not None and declaration.openapi.path is not None:
        return True

    def is_known(slug: str, endpoint: Endpoint) -> bool:
        approved = before.endpoints.get(slug) if before is not None and not infer_again else None
        return (
            endpoint.columns is not None
            or endpoint.recording is not None
            or (approved is not None and approved.columns is not None)
        )

    # Of an OpenAPI document in a file, operations without a schema are sampled.
    return declaration.openapi is not None or not all(
        is_known(slug, endpoint) for slug, endpoint in declaration.endpoints.items()
    )


def _is_same_code(declaration: Declaration, before: Declaration | None) -> bool:
    """Whether no code would run but what was agreed to; SECRET_ORIGINS says nothing of code."""
    return declaration.source is None or (
        before is not None and before.source == declaration.source
    )


def _is_agreed(connector: Connector, stored: Connector | None, bound: set[tuple[str, str]]) -> bool:
    secrets = wanted_secrets(connector)
    agreed = (
        {tuple(pair) for pair in (stored.agreed or {}).get("secrets", ())}
        if stored is not None
        else set()
    )
    asked = (
        {origin_of(url) for url in addresses_of(stored).values()} if stored is not None else set()
    )
    named = {origin for _, origin in bound}
    origins = {origin_of(url) for url in addresses_of(connector).values()}
    return origins <= asked | named and all(
        (reference, origin) in agreed or (reference.removeprefix("env:"), origin) in bound
        for reference, origin in secrets
    )


def _addresses(
    declaration: Declaration, connector: Connector, variable: str | None
) -> Iterable[Use]:
    secrets = wanted_secrets(connector)
    for purpose, url in addresses_of(connector).items():
        # A path from the environment may be a secret.
        shown = (
            f"{origin_of(url)} (from env:{variable})" if variable and purpose == "base URL" else url
        )
        yield Use(
            "address",
            shown,
            _told(
                purpose, url, sorted(name for name, origin in secrets if origin == origin_of(url))
            ),
        )
    if declaration.openapi is not None and declaration.openapi.path is not None:
        root = origin_of(connector.base_url) if variable else connector.base_url
        yield Use(
            "address",
            root + declaration.openapi.path,
            "OpenAPI document; servers that it names are not asked",
        )
    for slug, endpoint in declaration.endpoints.items():
        if endpoint.write_back is not None:
            yield Use(
                "address",
                endpoint.write_back.path,
                f"{slug}: written to by `write-back`, when a person orders it, and never by a sync",
            )
    if declaration.source is not None:
        yield Use(
            "code",
            declaration.source,
            "runs in this process and asks the source by itself, past every limit",
        )
    for name, why in kind_of(connector.destination).addresses(
        connector.destination_settings, secrets
    ):
        yield Use("address", name, why)


def _told(purpose: str, url: str, secrets: list[str]) -> str:
    told = purpose + _with(secrets)
    if travels_in_clear(url):
        told += "; over plain http, where others can read it"
    return told + ("; this machine" if is_loopback(url) else "")


def _with(secrets: list[str]) -> str:
    return f"; gets the secret{'s' * (len(secrets) > 1)} {', '.join(secrets)}" if secrets else ""


def _variables(
    declaration: Declaration, connector: Connector, variable: str | None, gates: Iterable[bytes]
) -> Iterable[Use]:
    if variable is not None:
        yield Use("variable", variable, "holds the base URL")
    for reference, origin in sorted(wanted_secrets(connector)):
        yield Use("variable", reference.removeprefix("env:"), f"secret, sent to {origin}")
    for name in sorted(
        {found.decode() for content in gates for found in _REFERENCE.findall(content)}
    ):
        yield Use("variable", name, "secret of the gate's masks, sent nowhere")


def _tables(declaration: Declaration, connector: Connector) -> Iterable[Use]:
    schema = connector.target_schema
    if declaration.openapi is not None:
        yield Use("table", f"{schema}.*", "one for each list of the OpenAPI document")
    for slug, endpoint in declaration.endpoints.items():
        table = shorten_identifier(table_name_for(slug), 53)
        yield Use(
            "table", f"{schema}.{table}", f"{slug} is written to it, in {connector.destination}"
        )
        if endpoint.ids is not None and endpoint.ids.table is not None:
            yield Use(
                "table", endpoint.ids.table, f"{slug}: its values are read and sent to the base URL"
            )


def _files(declaration: Declaration) -> Iterable[Use]:
    if declaration.openapi is not None and declaration.openapi.file is not None:
        yield Use(
            "file",
            declaration.openapi.file,
            "OpenAPI document; servers that it names are not asked",
        )
    for slug, endpoint in declaration.endpoints.items():
        if endpoint.recording is not None:
            yield Use("file", endpoint.recording, f"{slug} is read from it")
    kind = kind_with_options(declaration.destination or DEFAULT)
    for name, why in kind.files(declaration.reach or {}):
        yield Use("file", name, why)
