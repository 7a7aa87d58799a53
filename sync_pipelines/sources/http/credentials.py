"""What proves to a source who asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Authentication(Protocol):
    """What proves to a source who asks."""

    def headers(self) -> dict[str, str]:
        """Headers of the next request."""

    def query(self) -> dict[str, str]:
        """Query parameters of the next request."""

    def renew(self) -> bool:
        """After a 401: True when other credentials were got, so that one more try makes sense."""


class BearerToken:
    """`Authorization: Bearer …`, asked for at every request; no header where there is no token."""

    def __init__(self, token: Callable[[], str | None]) -> None:
        self._token = token

    def headers(self) -> dict[str, str]:
        """The header."""
        token = self._token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def query(self) -> dict[str, str]:
        """Nothing."""
        return {}

    def renew(self) -> bool:
        """A token from the environment is what it is."""
        return False
