"""Addresses of requests: with their query, and of one origin."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from sync_pipelines.errors import GuardError
from sync_pipelines.secrets import printable

_PORTS = {"http": 80, "https": 443}


def checked_url(
    base_url: str,
    address: str,
    query: Mapping[str, str | int],
) -> str:
    """The address with parameters.

    Raises:
        GuardError: it is not of the origin of `base_url`, or no plain address at all.
    """
    try:
        url = with_query(address, query)
        is_ours = _is_of_origin(base_url, url)
    except ValueError:
        url = address
        is_ours = False
    if not is_ours or not _is_plain(url):
        raise GuardError(
            f"The address {printable(url)} leaves the connector's origin {printable(base_url)}."
        )
    return url


def with_query(url: str, query: Mapping[str, str | int]) -> str:
    """The address with parameters; those it has already of the same names give way."""
    if not query:
        return url
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    members: list[tuple[str, str | int]] = []
    for name, value in given:
        if name not in query:
            members.append((name, value))
    members += query.items()
    text = urlencode(members)
    return urlunsplit(parts._replace(query=text))


def _is_of_origin(base_url: str, url: str) -> bool:
    ours = urlsplit(base_url)
    theirs = urlsplit(url)
    if theirs.username is not None or theirs.password is not None:
        return False
    return _origin(ours) == _origin(theirs)


def _is_plain(url: str) -> bool:
    """Whether an address has no step upwards and nothing but printable ASCII."""
    if "/../" in urlsplit(url).path + "/":
        return False
    return all(32 < ord(letter) <= 126 for letter in url)


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    port = parts.port or _PORTS.get(parts.scheme)
    return parts.scheme, parts.hostname, port
