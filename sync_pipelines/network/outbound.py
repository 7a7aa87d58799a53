"""Where a connector's requests may go and which secrets may go with them: what a person agreed to, kept beside the
connector.

A secret goes to an origin that was agreed by `connector add` or `connector apply`, or that SECRET_ORIGINS names for
it; where SECRET_ORIGINS names one, that is the only way. A request goes to an address that is not public where it is
loopback, written as such in what was agreed, or where `--allow-private` or ALLOWED_PRIVATE_ORIGINS allows it.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sync_pipelines.errors import GuardError, SettingsError
from sync_pipelines.network.addresses import IpAddress, IpNetwork, Reach, parse_host, reach_of
from sync_pipelines.network.origins import (
    PORTS,
    check_spelling,
    is_loopback,
    origin_of,
    travels_in_clear,
)
from sync_pipelines.secrets import printable, references_in

if TYPE_CHECKING:
    from sync_pipelines.model.entity import Connector
    from sync_pipelines.settings import Settings

# What opens our own databases and stores goes to no source, whatever a connector file asks for.
OUR_SECRETS = frozenset(
    {
        "POSTGRES_URL",
        "POSTGRES_PASSWORD",
        "DB_PASSWORD",
        "PGPASSWORD",
        "SYNC_PIPELINES_DAGSTER_URL",
        "DAGSTER_WEBSERVER_URL",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    }
)
TRINO_SECRETS = frozenset({"TRINO_PASSWORD", "TRINO_ACCESS_TOKEN"})


@dataclass(frozen=True)
class Outbound:
    """What may leave this process.

    Attributes:
        secrets: references with the origin that each was agreed to go to.
        private: origins that may be at an address which is not public.
        bound: SECRET_ORIGINS: the only origins of a variable.
        allowed: ALLOWED_PRIVATE_ORIGINS: origins and hosts.
        networks: the networks of ALLOWED_PRIVATE_ORIGINS.
        connector: for messages.
        naming: the command that is naming the connector's address just now; None where the connector is stored.
    """

    secrets: frozenset[tuple[str, str]] = frozenset()
    private: frozenset[str] = frozenset()
    bound: tuple[tuple[str, str], ...] = ()
    allowed: frozenset[str] = frozenset()
    networks: tuple[IpNetwork, ...] = ()
    connector: str = field(default="", compare=False)
    naming: str | None = field(default=None, compare=False)

    def with_settings(self, settings: Settings) -> Outbound:
        """The same with what the process's settings say."""
        allowed, networks = settings.sources.private_origins
        return replace(
            self,
            bound=settings.sources.bound_secrets,
            allowed=allowed,
            networks=networks,
        )

    def with_private(self, origins: Iterable[str]) -> Outbound:
        """The same with further origins that need not be public."""
        return replace(self, private=self.private | frozenset(origins))

    def check_secret(self, reference: str | None, url: str) -> None:
        """Refuse to send a secret where nobody agreed that it goes.

        Raises:
            GuardError: names secret and origin.
        """
        if reference is None:
            return
        name = reference.removeprefix("env:")
        origin = origin_of(url)
        bound = {place for variable, place in self.bound if variable == name}
        if origin in bound:
            return
        if bound:
            raise self._refused(
                f"SECRET_ORIGINS lets the secret {reference} go to {', '.join(sorted(bound))} only,"
                f" and not to {printable(origin)}.",
                "correct SECRET_ORIGINS or the connector",
            )
        opens_trino = name.upper() in TRINO_SECRETS and not origin.startswith("trino://")
        if name.upper() in OUR_SECRETS or opens_trino:
            raise self._refused(
                f"The variable {name} opens sync_pipelines' own stores; it is not sent to {printable(origin)}.",
                f"give the source a secret of its own, or set SECRET_ORIGINS={name}={printable(origin)}",
            )
        if (reference, origin) not in self.secrets:
            raise self._refused(
                f"Nobody agreed that the secret {reference} goes to {printable(origin)}.",
                f"sync-pipelines connector apply FILE (or add {self.connector or 'NAME'} URL --token {reference}),"
                f" or SECRET_ORIGINS={name}={printable(origin)}",
            )

    def check_literal(self, url: str) -> None:
        """Refuse an address that spells an IP address which is neither public nor named; nothing is resolved.

        Raises:
            GuardError: as `check_addresses`.
        """
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        host = parts.hostname or ""
        address = _literal(host)
        if address is not None:
            port = parts.port or PORTS[scheme]
            self.check_addresses(scheme, host, port, [address])

    def check_addresses(
        self,
        scheme: str,
        host: str,
        port: int,
        addresses: Iterable[IpAddress],
    ) -> None:
        """Refuse to connect to an address that is neither public nor named.

        Raises:
            GuardError: names host and address, and what would allow it.
        """
        origin = origin_of(f"{scheme}://{_bracketed(host)}:{port}")
        name = host.rstrip(".").lower()
        for address in addresses:
            reach = reach_of(address)
            if reach is Reach.PUBLIC or self._allows(origin, name, address, reach):
                continue
            is_literal = str(address) == host.strip("[]")
            resolved = "" if is_literal else f" is at {address}, which"
            raise self._refused(
                f"The address {printable(host)}{resolved} is not public ({reach}); it was not named,"
                " and nothing was sent.",
                self._way_to(origin, address, reach),
            )

    def _way_to(
        self,
        origin: str,
        address: IpAddress,
        reach: Reach,
    ) -> str:
        """What would allow a connection to an address that is not public."""
        if reach is Reach.NEVER:
            return "name an address of one machine"
        if reach is Reach.METADATA:
            return f"ALLOWED_PRIVATE_ORIGINS={address}, if it really is a source"
        setting = f"ALLOWED_PRIVATE_ORIGINS={origin}"
        command = self.naming
        if not command and self.connector:
            command = f"sync-pipelines connector set {self.connector}"
        if not command:
            return setting
        return f"{command} --allow-private, or {setting}"

    def _allows(
        self,
        origin: str,
        host: str,
        address: IpAddress,
        reach: Reach,
    ) -> bool:
        if reach is Reach.NEVER:
            return False
        for network in self.networks:
            if network.version == address.version and address in network:
                return True
        is_named = bool({origin, host} & self.allowed) or origin in self.private
        if reach is not Reach.METADATA:
            return is_named
        # A name may lead anywhere tomorrow; the metadata service has to be meant.
        return is_named and _literal(host) == address

    def _refused(self, what: str, way: str) -> GuardError:
        where = {"connector": self.connector} if self.connector else {}
        return GuardError(what, where=where, next_command=way)


def _literal(host: str) -> IpAddress | None:
    try:
        return parse_host(host)
    except ValueError:
        return None


def _bracketed(host: str) -> str:
    """A host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host


def named_by(urls: Iterable[str], *, allow_private: bool = False) -> frozenset[str]:
    """The origins that may be at an address which is not public: loopback that is written as such.

    All with `allow_private`.
    """
    return frozenset(origin_of(url) for url in urls if allow_private or is_loopback(url))


def agreement(secrets: Iterable[Sequence[str]], private: Iterable[str]) -> dict[str, Any]:
    """What `bridge.connectors.agreed` keeps: also who agreed, and when (UTC)."""
    try:
        who = getpass.getuser()
    except (OSError, KeyError):
        # A container's user may have no name.
        who = f"uid {os.getuid()}"
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "secrets": sorted(list(pair) for pair in secrets),
        "private": sorted(private),
        "by": who,
        "at": at,
    }


def from_agreement(agreed: Mapping[str, Any], connector: str) -> Outbound:
    """What was kept."""
    secrets = frozenset((reference, origin) for reference, origin in agreed.get("secrets", ()))
    return Outbound(
        secrets,
        frozenset(agreed.get("private", ())),
        connector=connector,
    )


def trino_origin(destination_settings: Mapping[str, Any]) -> str:
    """Where a connector's secrets for Trino go; `trino_host` is the coordinator of TRINO_HOST.

    Raises:
        SettingsError: the host is none.
    """
    host = str(destination_settings.get("host") or "trino_host")
    port = destination_settings.get("port") or 8080
    try:
        if "://" in host:
            # Trino's client takes an address as well, whose port wins.
            parts = urlsplit(host)
            host = parts.hostname or ""
            port = parts.port or port
        return origin_of(f"trino://{_bracketed(host)}:{port}")
    except ValueError:
        raise SettingsError(
            f"{printable(host, 100)!r} is no host of a Trino: give its name or address.",
            state="Nothing was stored or sent.",
        ) from None


def addresses_of(connector: Connector) -> dict[str, str]:
    """What a connector asks over HTTP, by what it is for."""
    addresses = {"base URL": connector.base_url}
    declaration = connector.declaration or {}
    auth = declaration.get("auth") or {}
    if auth.get("type") == "oauth2":
        addresses["token endpoint"] = auth["token_url"]
    return addresses


def wanted_secrets(connector: Connector) -> set[tuple[str, str]]:
    """The secrets that a connector uses, with the origin that each is sent to."""
    declaration = connector.declaration or {}
    auth = declaration.get("auth") or {}
    arguments = declaration.get("arguments") or {}
    source = auth.get("token_url") or connector.base_url
    references = references_in([auth, arguments])
    if connector.declaration is None and connector.auth_token is not None:
        references.append(connector.auth_token)
    wanted = {(reference, origin_of(source)) for reference in references}
    reach = connector.destination_settings
    for name in ("password", "access_token"):
        secret = reach.get(name)
        if secret:
            wanted.add((str(secret), trino_origin(reach)))
    return wanted


def shown_secrets(connector: Connector) -> str:
    """The references of a connector, and aloud where they travel in the clear."""
    references = {reference for reference, _ in wanted_secrets(connector)}
    listed = ", ".join(sorted(references))
    urls = addresses_of(connector).values()
    plain = ", ".join(sorted(filter(travels_in_clear, urls)))
    if not plain:
        return listed
    return f"{listed}; sent over plain http to {plain}, where others can read it"


def of_connector(connector: Connector, settings: Settings) -> Outbound:
    """What a connector may send: as agreed in the catalog; one that is not from there, what it names itself."""
    if connector.agreed is not None:
        outbound = from_agreement(connector.agreed, connector.name)
    else:
        outbound = Outbound(
            frozenset(wanted_secrets(connector)),
            named_by(addresses_of(connector).values()),
            connector=connector.name,
        )
    return outbound.with_settings(settings)


def agree(
    connector: Connector,
    settings: Settings,
    *,
    allow_private: bool = False,
) -> dict[str, Any]:
    """The agreement of a person who has seen, or typed, where a connector's secrets go.

    Args:
        connector: as it is going to be; with the agreement that there was.
        settings: of the process.
        allow_private: its addresses need not be public. What was agreed for an address that stays, stays.

    Raises:
        GuardError: the settings forbid it, or an address is spelled as a number, or is not public and not named.
    """
    before = connector.agreed or {}
    private_before = set(before.get("private", ()))
    secrets_before = {tuple(pair) for pair in before.get("secrets", ())}
    urls = [check_spelling(url) for url in addresses_of(connector).values()]
    kept = private_before.intersection(map(origin_of, urls))
    private = named_by(urls, allow_private=allow_private) | kept
    secrets = wanted_secrets(connector)
    agreed = Outbound(
        frozenset(secrets),
        private,
        connector=connector.name,
        naming=_naming_command(connector),
    )
    outbound = agreed.with_settings(settings)
    for url in urls:
        outbound.check_literal(url)
    for reference, origin in sorted(secrets):
        outbound.check_secret(reference, origin)
    if before and secrets_before == secrets and private_before == private:
        return dict(before)
    return agreement(secrets, private)


def _naming_command(connector: Connector) -> str:
    """The command with which a person names the addresses of a connector."""
    if connector.declaration is not None:
        return "sync-pipelines connector apply FILE"
    return f"sync-pipelines connector add {connector.name} {printable(connector.base_url)}"


def agree_to_private(connector: Connector) -> dict[str, Any]:
    """The agreement that there was, and that the connector's addresses need not be public.

    Nothing is said of secrets.
    """
    agreed = connector.agreed or {}
    urls = addresses_of(connector).values()
    private = named_by(urls, allow_private=True)
    return agreement(agreed.get("secrets", ()), private)
