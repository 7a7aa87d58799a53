"""Which names a server may be asked by: a name that anybody can bind to our address must not be one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from sync_pipelines.errors import SettingsError
from sync_pipelines.secrets import printable

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # compared with, not listened on
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PORT = re.compile(r"[0-9]{1,6}")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?")


@dataclass(frozen=True)
class _Authority:
    name: str
    port: int | None

    def at(self, default_port: int) -> tuple[str, int]:
        """Name and port, which is the default where none is given."""
        return self.name, self.port or default_port


class AllowedHosts:
    """The names of one server.

    Loopback names are always among them. A server on all addresses is also known by any address, because nobody can
    bind an address anew.

    Args:
        bound_host: the address that the server listens on.
        names: further ones, `name` or `name:port`, by which a proxy or a published port is asked.

    Raises:
        SettingsError: one of the names is no name of a host.
    """

    def __init__(self, bound_host: str, names: Iterable[str] = ()) -> None:
        self._by_address = bound_host in _WILDCARDS
        self._listed = {parse_listed(name) for name in names}
        self._names = {"localhost", bound_host.lower()}
        self._names.update(listed.name for listed in self._listed)

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server, at whatever port: a tunnel and a published port have their own."""
        asked = _authority(host)
        if asked is None:
            return False
        if asked.name in self._names:
            return True
        address = _address(asked.name)
        if address is None:
            return False
        return self._by_address or address.is_loopback

    def same_origin(self, origin: str | None, host: str) -> bool:
        """Whether an Origin header is of the server that the Host header names.

        A proxy may have changed the Host header, so a listed name is an origin of ours, too.
        """
        parts = _origin(origin)
        asked = _authority(host)
        if parts is None or asked is None:
            return False
        scheme, page = parts
        default = _DEFAULT_PORTS[scheme]
        ours = [asked, *self._listed]
        return page.at(default) in [one.at(default) for one in ours]


def parse_listed(name: str) -> _Authority:
    """Return a further name of a server.

    Raises:
        SettingsError: it is no name of a host.
    """
    found = _authority(name.strip())
    if found is None:
        raise SettingsError(
            f"{printable(name, 100)!r} is no name of a host: give NAME or NAME:PORT, without http:// and path.",
            state="Nothing was started.",
        )
    return found


def _origin(origin: str | None) -> tuple[str, _Authority] | None:
    """Scheme and host of an origin; None for `null` and whatever else is no origin of a web page."""
    try:
        parts = urlsplit(origin or "")
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS:
        return None
    if parts.path or parts.query or parts.fragment:
        return None
    found = _authority(parts.netloc)
    return None if found is None else (parts.scheme, found)


def _authority(text: str) -> _Authority | None:
    """`name`, `name:port` or `[address]:port` taken apart; None when it is none of them."""
    name = text.lower()
    port = ""
    if name.startswith("["):
        name, closed, rest = name[1:].partition("]")
        if not closed or _address(name) is None:
            return None
        if rest and not rest.startswith(":"):
            return None
        port = rest[1:]
    elif name.count(":") == 1:
        name, _, port = name.partition(":")
    if _address(name) is None and not _NAME.fullmatch(name):
        return None
    name = name.rstrip(".")
    if not port:
        return _Authority(name, None)
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        return None
    return _Authority(name, int(port))


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(name)
    except ValueError:
        return None
