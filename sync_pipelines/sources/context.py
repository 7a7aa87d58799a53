"""What a source of one entity is opened with."""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipelines.catalog.database import Database
from sync_pipelines.model.entity import Connector, Entity
from sync_pipelines.settings import Settings
from sync_pipelines.sources.http.connector_session import open_session
from sync_pipelines.sources.http.guarded import GuardedSession


@dataclass(frozen=True)
class ReadContext:
    """What a kind of source needs to open one entity.

    Attributes:
        database: where ids and rows are; it shares a rate limit with other processes.
        connector, entity: what to read.
        settings: of the process.
        masked: columns whose values must not rest anywhere, in an error or a kept answer as little as in a table.
        keep_answers: for a run that publishes: go on with what a run that died has fetched, where the endpoint allows
            it.
    """

    database: Database
    connector: Connector
    entity: Entity
    settings: Settings
    masked: frozenset[str] = frozenset()
    keep_answers: bool = False

    @property
    def max_pages(self) -> int:
        """Most answers of one read."""
        return self.settings.sources.max_pages

    def open_session(self) -> GuardedSession:
        """The connector's session; its errors show no part of an answer where columns are masked.

        Raises:
            ConfigurationError, GuardError: its authentication cannot be used.
        """
        session = open_session(self.connector, self.settings, self.database)
        return session.hiding_bodies() if self.masked else session
