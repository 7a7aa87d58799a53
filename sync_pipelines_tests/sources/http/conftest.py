"""A twin, and sessions to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sync_pipelines.demo.twin import TwinColumn, TwinServer, TwinStore, TwinTable
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.secrets import register_secret
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines_tests.sources.http.session import TOKEN, Pauses


@pytest.fixture
def twin() -> Iterator[TwinServer]:
    store = TwinStore()
    table = store.add(
        TwinTable("items", columns=(TwinColumn("id", "INTEGER", is_business_key=True),))
    )
    table.put_many({"id": number} for number in range(50))
    with TwinServer(store, token=TOKEN) as server:
        yield server


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def open_session(twin: TwinServer, pauses: Pauses) -> Callable[..., GuardedSession]:
    def opened(base_url: str | None = None, **limits: Any) -> GuardedSession:
        register_secret(TOKEN)
        chosen = {"timeout_seconds": 2, "backoff_seconds": 1, **limits}
        return GuardedSession(
            base_url or twin.url, lambda: TOKEN, HttpLimits(**chosen), sleep=pauses
        )

    return opened
