"""Where an address leads, by what is written: its origin, whether it is this machine, whether others may listen."""

from __future__ import annotations

from urllib.parse import urlsplit

from sync_pipelines.errors import GuardError
from sync_pipelines.network.addresses import is_loopback_host, parse_host
from sync_pipelines.secrets import printable

PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """`scheme://host:port` of an address, in one spelling.

    Raises:
        ValueError: it has no host, or no known port.
    """
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme.lower())
    if not parts.hostname or port is None:
        raise ValueError("no address with scheme and host")
    host = parts.hostname.rstrip(".")
    return f"{parts.scheme.lower()}://{f'[{host}]' if ':' in host else host}:{port}"


def check_spelling(url: str) -> str:
    """Return an address whose host is a name, or an IP address in the usual spelling.

    Raises:
        GuardError: decimal, octal, hexadecimal or shortened numbers.
    """
    host = urlsplit(url).hostname or ""
    try:
        parse_host(host)
    except ValueError as error:
        raise GuardError(
            f"The host {printable(host)!r} is refused: {error}.",
            state="Nothing was stored or sent.",
        ) from None
    return url


def is_loopback(url: str) -> bool:
    """The address is on this machine, by what is written."""
    return is_loopback_host(urlsplit(url).hostname or "")


def travels_in_clear(url: str) -> bool:
    """Whoever is on the way may read it: plain http beyond this machine."""
    return urlsplit(url).scheme.lower() == "http" and not is_loopback(url)
