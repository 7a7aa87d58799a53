"""A guarded session against the twin, which remembers its pauses instead of sleeping."""

from __future__ import annotations

from collections.abc import Callable

from sync_pipelines.sources.http.guarded import GuardedSession

TOKEN = "canary-token-7f3a9"


PATH = "/api/v1/data/items"


class Pauses(list[float]):
    """Replaces sleep and remembers."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


Opener = Callable[..., GuardedSession]
