"""A pool whose answers end at a deadline, headers included, however slowly their bytes drip.

A read timeout alone starts anew with every byte.
"""

from __future__ import annotations

import http.client
import io
import time
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from sync_pipelines.network.connecting import AddressCheck, checked_connection


class _Limited(io.RawIOBase):
    """The bytes of an answer until its deadline."""

    def __init__(self, raw: io.RawIOBase, seconds: float) -> None:
        self._raw = raw
        self._ends_at = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > self._ends_at:
            raise TimeoutError("the answer took too long as a whole")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def pool_with_deadline(seconds: float, check: AddressCheck, **options: Any) -> urllib3.PoolManager:
    """A pool manager whose answers raise a timeout when they are not complete after so many seconds.

    It may take one read timeout longer, since the clock is looked at between reads.

    Args:
        seconds: for the whole answer.
        check: refuses addresses before they are connected to.
        options: of urllib3.PoolManager.
    """

    class Response(http.client.HTTPResponse):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.fp = io.BufferedReader(_Limited(self.fp.detach(), seconds))

    manager = urllib3.PoolManager(**options)
    manager.pool_classes_by_scheme = {}
    schemes = (
        ("http", urllib3.HTTPConnectionPool, HTTPConnection),
        ("https", urllib3.HTTPSConnectionPool, HTTPSConnection),
    )
    for scheme, pool, connection_class in schemes:
        checked = checked_connection(connection_class, scheme, check)
        connection = type(
            "Connection",
            (checked,),
            {"response_class": Response},
        )
        manager.pool_classes_by_scheme[scheme] = type(
            "Pool",
            (pool,),
            {"ConnectionCls": connection},
        )
    return manager
