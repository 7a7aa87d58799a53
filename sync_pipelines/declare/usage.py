"""What a connector file would use: addresses, variables of the environment, tables and files.

It is shown before anything is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sync_pipelines.destinations.registry import DEFAULT, kind_of, kind_with_options
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.names import shorten_identifier, table_name_for
from sync_pipelines.network.origins import is_loopback, origin_of, travels_in_clear
from sync_pipelines.network.outbound import addresses_of, wanted_secrets

_REFERENCE = re.compile(rb"\benv:([A-Za-z_][A-Za-z0-9_]*)")
_WHY_OPENAPI = "OpenAPI document; servers that it names are not asked"


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
        uses = [asdict(use) for use in self.uses]
        return {"uses": uses, "asks_source": self.asks_source, "is_agreed": self.is_agreed}


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
        connector: the one that the declaration becomes.
        stored: the connector of that name, with what was agreed.
        base_url_variable: where the base URL was read from.
        bound: SECRET_ORIGINS.
        receivers: addresses of webhooks by name, which get messages about its incidents.
        gates: contents of the gate's files that come with it.
        infer_again: take a new sample.
    """
    before = None
    if stored is not None and stored.declaration:
        before = Declaration.model_validate(stored.declaration)
    approved = None if infer_again else before
    is_agreed = _is_agreed(connector, stored, set(bound))
    return Usage(
        uses=[
            *_addresses(declaration, connector, base_url_variable),
            *_webhooks(receivers or {}),
            *_variables(connector, base_url_variable, gates),
            *_tables(declaration, connector),
            *_files(declaration),
        ],
        asks_source=_asks_source(declaration, approved),
        is_agreed=is_agreed and _is_same_code(declaration, before),
    )


def _asks_source(declaration: Declaration, approved: Declaration | None) -> bool:
    # Even of an OpenAPI document in a file, operations without a schema are sampled.
    if declaration.openapi is not None:
        return True
    approved_endpoints = approved.endpoints if approved is not None else {}
    for slug, endpoint in declaration.endpoints.items():
        if endpoint.columns is not None or endpoint.recording is not None:
            continue
        before = approved_endpoints.get(slug)
        if before is None or before.columns is None:
            return True
    return False


def _is_same_code(declaration: Declaration, before: Declaration | None) -> bool:
    """Whether no code would run but what was agreed to; SECRET_ORIGINS names no code."""
    if declaration.source is None:
        return True
    return before is not None and before.source == declaration.source


def _is_agreed(connector: Connector, stored: Connector | None, bound: set[tuple[str, str]]) -> bool:
    wanted = wanted_secrets(connector)
    known = {origin for _, origin in bound}
    agreed: list[tuple[str, ...]] = []
    if stored is not None:
        known |= _origins(stored)
        pairs = (stored.agreed or {}).get("secrets", ())
        # A damaged pair matches no secret, so that a person is asked again.
        agreed = [tuple(pair) for pair in pairs if isinstance(pair, list | tuple)]
    if not _origins(connector) <= known:
        return False
    for reference, origin in wanted:
        variable = reference.removeprefix("env:")
        if (reference, origin) not in agreed and (variable, origin) not in bound:
            return False
    return True


def _origins(connector: Connector) -> set[str]:
    addresses = addresses_of(connector)
    return {origin_of(url) for url in addresses.values()}


def _webhooks(receivers: Mapping[str, str]) -> Iterable[Use]:
    for name, address in receivers.items():
        yield Use("address", address, f"webhook {name}, gets messages about its incidents")


def _addresses(
    declaration: Declaration, connector: Connector, variable: str | None
) -> Iterable[Use]:
    secrets = wanted_secrets(connector)
    for purpose, url in addresses_of(connector).items():
        origin = origin_of(url)
        # A path from the environment may be a secret.
        is_hidden = variable is not None and purpose == "base URL"
        shown = f"{origin} (from env:{variable})" if is_hidden else url
        received = sorted(name for name, receiver in secrets if receiver == origin)
        yield Use("address", shown, _purpose(purpose, url, received))
    yield from _declared_addresses(declaration, connector, variable)
    kind = kind_of(connector.destination)
    for name, why in kind.addresses(connector.destination_settings, secrets):
        yield Use("address", name, why)


def _declared_addresses(
    declaration: Declaration, connector: Connector, variable: str | None
) -> Iterable[Use]:
    """The document, the paths that are written to, and the code that asks by itself."""
    if declaration.openapi is not None and declaration.openapi.path is not None:
        root = origin_of(connector.base_url) if variable else connector.base_url
        yield Use("address", root + declaration.openapi.path, _WHY_OPENAPI)
    for slug, endpoint in declaration.endpoints.items():
        if endpoint.write_back is not None:
            why = (
                f"{slug}: written to by `write-back`, when a person orders it, and never by a sync"
            )
            yield Use("address", endpoint.write_back.path, why)
    if declaration.source is not None:
        why = "runs in this process and asks the source by itself, past every limit"
        yield Use("code", declaration.source, why)


def _purpose(purpose: str, url: str, secrets: list[str]) -> str:
    """What an address is for, which secrets it gets, and who can read them on the way."""
    parts = [purpose]
    if secrets:
        noun = "secret" if len(secrets) == 1 else "secrets"
        parts.append(f"gets the {noun} {', '.join(secrets)}")
    if travels_in_clear(url):
        parts.append("over plain http, where others can read it")
    if is_loopback(url):
        parts.append("this machine")
    return "; ".join(parts)


def _variables(connector: Connector, variable: str | None, gates: Iterable[bytes]) -> Iterable[Use]:
    if variable is not None:
        yield Use("variable", variable, "holds the base URL")
    for reference, origin in sorted(wanted_secrets(connector)):
        name = reference.removeprefix("env:")
        yield Use("variable", name, f"secret, sent to {origin}")
    of_masks: set[bytes] = set()
    for content in gates:
        of_masks.update(_REFERENCE.findall(content))
    for found in sorted(of_masks):
        yield Use("variable", found.decode(), "secret of the gate's masks, sent nowhere")


def _tables(declaration: Declaration, connector: Connector) -> Iterable[Use]:
    schema = connector.target_schema
    if declaration.openapi is not None:
        yield Use("table", f"{schema}.*", "one for each list of the OpenAPI document")
    for slug, endpoint in declaration.endpoints.items():
        table = shorten_identifier(table_name_for(slug), 53)
        why = f"{slug} is written to it, in {connector.destination}"
        yield Use("table", f"{schema}.{table}", why)
        if endpoint.ids is not None and endpoint.ids.table is not None:
            why = f"{slug}: its values are read and sent to the base URL"
            yield Use("table", endpoint.ids.table, why)


def _files(declaration: Declaration) -> Iterable[Use]:
    if declaration.openapi is not None and declaration.openapi.file is not None:
        yield Use("file", declaration.openapi.file, _WHY_OPENAPI)
    for slug, endpoint in declaration.endpoints.items():
        if endpoint.recording is not None:
            yield Use("file", endpoint.recording, f"{slug} is read from it")
    kind = kind_with_options(declaration.destination or DEFAULT)
    for name, why in kind.files(declaration.reach or {}):
        yield Use("file", name, why)
