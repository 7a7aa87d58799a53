"""The settings SECRET_ORIGINS and ALLOWED_PRIVATE_ORIGINS as data."""

from __future__ import annotations

import ipaddress
import re

from sync_pipelines.network.addresses import IpNetwork, parse_host
from sync_pipelines.network.origins import origin_of

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9_.-]+")


def parse_secret_origins(text: str) -> tuple[tuple[str, str], ...]:
    """`NAME=https://host, NAME=https://other` as pairs.

    Raises:
        ValueError: a part that is none; nothing of it is repeated.
    """
    pairs = []
    for part in _parts(text):
        variable, _, address = part.partition("=")
        name = variable.strip().removeprefix("env:")
        try:
            origin = origin_of(address.strip())
        except ValueError:
            origin = ""
        if not origin or not _VARIABLE.fullmatch(name):
            raise ValueError("takes NAME=https://host[:port], separated by commas")
        pairs.append((name, origin))
    return tuple(pairs)


def parse_private_origins(text: str) -> tuple[frozenset[str], tuple[IpNetwork, ...]]:
    """Origins and hosts, and networks (a single address is one, too).

    Raises:
        ValueError: a part that is none of them.
    """
    names: set[str] = set()
    networks: list[IpNetwork] = []
    for part in _parts(text):
        if "://" in part:
            names.add(origin_of(part))
            continue
        try:
            network = ipaddress.ip_network(part.strip("[]"))
            networks.append(network)
        except ValueError:
            if not _HOST.fullmatch(part) or parse_host(part) is not None:
                raise ValueError(
                    "takes origins, hosts, addresses or networks, separated by commas"
                ) from None
            name = part.rstrip(".")
            names.add(name.lower())
    return frozenset(names), tuple(networks)


def _parts(text: str) -> list[str]:
    parts = map(str.strip, text.split(","))
    return [part for part in parts if part]
