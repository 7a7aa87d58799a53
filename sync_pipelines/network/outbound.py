"""Where a connector's requests may go and which secrets may go with them: what a person agreed to, kept beside the
connector.

=====================
================================================================================================== secret and origin
agreed by `connector add` and `connector apply`, or named in SECRET_ORIGINS, which then is the only way address not
public     loopback that is written as such in what was agreed; others by `--allow-private` or ALLOWED_PRIVATE_ORIGINS
=====================
==================================================================================================
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

# What opens our own databases and stores goes to no source because a file says so.
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
        address = _literal(parts.hostname or "")
        if address is not None:
            self.check_addresses(
                parts.scheme.lower(),
                parts.hostname or "",
                parts.port or PORTS[parts.scheme.lower()],
                [address],
            )

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
        origin = origin_of(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        setting = f"ALLOWED_PRIVATE_ORIGINS={origin}"
        command = self.naming or (
            f"sync-pipelines connector set {self.connector}" if self.connector else None
        )
        for address in addresses:
            reach = reach_of(address)
            if reach is Reach.PUBLIC or self._allows(
                origin,
                host.rstrip(".").lower(),
                address,
                reach,
            ):
                continue
            way = {
                Reach.NEVER: "name an address of one machine",
                Reach.METADATA: f"ALLOWED_PRIVATE_ORIGINS={address}, if it really is a source",
            }.get(reach, f"{command} --allow-private, or {setting}" if command else setting)
            named = "" if str(address) == host.strip("[]") else f" is at {address}, which"
            raise self._refused(
                f"The address {printable(host)}{named} is not public ({reach}); it was not named,"
                " and nothing was sent.",
                way,
            )

    def _allows(
        self,
        origin: str,
        host: str,
        address: IpAddress,
        reach: Reach,
    ) -> bool:
        if reach is Reach.NEVER:
            return False
        if any(
            address in network for network in self.networks if network.version == address.version
        ):
            return True
        named = bool({origin, host} & self.allowed) or origin in self.private
        # A name may lead anywhere tomorrow; the metadata service has to be meant.
        return named and (reach is not Reach.METADATA or _literal(host) == address)

    def _refused(self, what: str, way: str) -> GuardError:
        where = {"connector": self.connector} if self.connector else {}
        return GuardError(what, where=where, next_command=way)


def _literal(host: str) -> IpAddress | None:
    try:
        return parse_host(host)
    except ValueError:
        return None


def named_by(
    urls: Iterable[str],
    *,
    allow_private: bool = False,
) -> frozenset[str]:
    """The origins that may be at an address which is not public: loopback that is written as such.

    All with `allow_private`.
    """
    return frozenset(origin_of(url) for url in urls if allow_private or is_loopback(url))


def agreement(
    secrets: Iterable[Sequence[str]],
    private: Iterable[str],
) -> dict[str, Any]:
    """What `bridge.connectors.agreed` keeps: also who agreed, and when (UTC)."""
    try:
        who = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
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
        if "://" in host:  # its client takes an address as well, whose port wins
            parts = urlsplit(host)
            host = parts.hostname or ""
            port = parts.port or port
        return origin_of(f"trino://{f'[{host}]' if ':' in host else host}:{port}")
    except ValueError:
        raise SettingsError(
            f"{printable(host, 100)!r} is no host of a Trino: give its name or address.",
            state="Nothing was stored or sent.",
        ) from None


def addresses_of(connector: Connector) -> dict[str, str]:
    """What a connector asks over HTTP, by what it is for."""
    auth = (connector.declaration or {}).get("auth") or {}
    token = {"token endpoint": auth["token_url"]} if auth.get("type") == "oauth2" else {}
    return {"base URL": connector.base_url, **token}


def wanted_secrets(connector: Connector) -> set[tuple[str, str]]:
    """The secrets that a connector uses, with the origin that each is sent to."""
    auth = (connector.declaration or {}).get("auth") or {}
    source = auth.get("token_url") or connector.base_url
    arguments = (connector.declaration or {}).get("arguments") or {}
    references = references_in([auth, arguments])
    if connector.declaration is None and connector.auth_token is not None:
        references.append(connector.auth_token)
    wanted = {(reference, origin_of(source)) for reference in references}
    reach = connector.destination_settings
    return wanted | {
        (str(reach[name]), trino_origin(reach))
        for name in ("password", "access_token")
        if reach.get(name)
    }


def shown_secrets(connector: Connector) -> str:
    """The references of a connector, and aloud where they travel in the clear."""
    references = ", ".join(sorted({reference for reference, _ in wanted_secrets(connector)}))
    plain = sorted(url for url in addresses_of(connector).values() if travels_in_clear(url))
    return references + (
        f"; sent over plain http to {', '.join(plain)}, where others can read it" if plain else ""
    )


def of_connector(connector: Connector, settings: Settings) -> Outbound:
    """What a connector may send: as agreed in the catalog; one that is not from there, what it names itself."""
    if connector.agreed is None:
        own = Outbound(
            frozenset(wanted_secrets(connector)),
            named_by(addresses_of(connector).values()),
            connector=connector.name,
        )
        return own.with_settings(settings)
    return from_agreement(connector.agreed, connector.name).with_settings(settings)


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
    urls = [check_spelling(url) for url in addresses_of(connector).values()]
    kept = {origin_of(url) for url in urls} & set(before.get("private", ()))
    private = named_by(urls, allow_private=allow_private) | kept
    secrets = wanted_secrets(connector)
    is_declared = connector.declaration is not None
    naming = (
        "sync-pipelines connector apply FILE"
        if is_declared
        else f"sync-pipelines connector add {connector.name} {printable(connector.base_url)}"
    )
    outbound = Outbound(
        frozenset(secrets),
        private,
        connector=connector.name,
        naming=naming,
    ).with_settings(settings)
    for url in urls:
        outbound.check_literal(url)
    for reference, origin in sorted(secrets):
        outbound.check_secret(reference, origin)
    as_before = {tuple(pair) for pair in before.get("secrets", ())} == secrets and set(
        before.get("private", ())
    ) == private
    return dict(before) if before and as_before else agreement(secrets, private)


def agree_to_private(connector: Connector) -> dict[str, Any]:
    """The agreement that there was, and that the connector's addresses need not be public.

    Nothing is said of secrets.
    """
    secrets = (connector.agreed or {}).get("secrets", ())
    return agreement(secrets, named_by(addresses_of(connector).values(), allow_private=True))
