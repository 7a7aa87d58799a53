"""Connections whose address was looked at first: a name is resolved once, and what was looked at is what is connected
to.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, NameResolutionError

from sync_pipelines.network.addresses import IpAddress

AddressCheck = Callable[[str, str, int, list[IpAddress]], None]


def checked_connection(
    base: type[HTTPConnection],
    scheme: str,
    check: AddressCheck,
) -> type[HTTPConnection]:
    """A connection class that resolves, asks `check` (scheme, host, port, addresses) and connects to one of just these
    addresses.

    Certificates are verified against the name, which also goes into SNI and the header Host, as before.
    """

    class Checked(base):  # type: ignore[misc,valid-type]
        # The name that urllib3 resolves, while it stays in `host` for certificates and the header Host.
        _dns_host: str

        def _new_conn(self) -> socket.socket:
            name = self._dns_host
            addresses = _resolve(self, name, self.port)
            check(scheme, name, self.port, addresses)
            trouble: HTTPError | None = None
            for address in addresses:
                # urllib3 connects to what it finds here; a number is not resolved again.
                self._dns_host = str(address)
                try:
                    connected: socket.socket = super()._new_conn()
                except HTTPError as error:
                    trouble = error
                else:
                    return connected
                finally:
                    self._dns_host = name
            assert trouble is not None
            raise trouble

    return Checked


def _resolve(
    connection: Any,
    name: str,
    port: int,
) -> list[IpAddress]:
    try:
        found = socket.getaddrinfo(
            name.strip("[]"),
            port,
            socket.AF_UNSPEC,
            socket.SOCK_STREAM,
        )
    except (socket.gaierror, UnicodeError) as error:
        trouble = (
            error
            if isinstance(error, socket.gaierror)
            else socket.gaierror(socket.EAI_NONAME, "the name cannot be one")
        )
        raise NameResolutionError(
            connection.host,
            connection,
            trouble,
        ) from error
    # The zone of a link-local address is part of it.
    return list(dict.fromkeys(ipaddress.ip_address(one[4][0]) for one in found))
