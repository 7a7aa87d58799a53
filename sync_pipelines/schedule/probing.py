"""Look at many entities of a source at once, within a deadline, and remember what was seen."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.probes import (
    Candidate,
    list_candidates,
    record_probes,
    record_source_health,
    source_health,
)
from sync_pipelines.errors import (
    ConfigurationError,
    NoTurnError,
    SourceBusyError,
    SourceContractError,
    SourceUnreachableError,
    SyncError,
)
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.limits import RunLimits
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings
from sync_pipelines.sources.kind import Prober
from sync_pipelines.sources.probe import is_news
from sync_pipelines.sources.registry import source_kind

logger = logging.getLogger(__name__)

DEADLINE_SECONDS = 20.0
"""For all probes of a tick; Dagster ends a sensor's evaluation after 60 s."""
REQUEST_SECONDS = 5.0
RATE_SHARE = 0.5
"""Of a connector's rate limit that probes may use, so that syncs come through."""
MAX_CANDIDATES = 10_000
_PATIENCE_TROUBLES = 3


@dataclass
class Probing:
    """What the probes of one tick found.

    Attributes:
        quiet: entities without news.
        news: entities with news, and its first rowversion.
        failed: entities whose probe failed.
        left: candidates that the deadline or the rate limit left for the next tick.
        trouble: why the source is not probed for a while, None = it answers.
        silent_seconds: how long it is left alone.
    """

    quiet: list[UUID] = field(default_factory=list)
    news: dict[UUID, str] = field(default_factory=dict)
    failed: list[UUID] = field(default_factory=list)
    left: int = 0
    trouble: str | None = None
    silent_seconds: float = 0.0

    @property
    def answered(self) -> int:
        """Entities whose probe the source answered."""
        return len(self.quiet) + len(self.news)

    @property
    def probed(self) -> int:
        """Entities that were looked at."""
        return self.answered + len(self.failed)

    def __str__(self) -> str:
        if self.trouble:
            return f"not probed, again in {self.silent_seconds:.0f} s: {self.trouble}"
        if not self.probed:
            return ""
        left = f", {self.left} left for the next tick" if self.left else ""
        failed = f", {len(self.failed)} probes failed" if self.failed else ""
        return f"probed {self.probed}, {len(self.news)} with news{failed}{left}"


def probe_changes(
    database: Database,
    connector: Connector,
    settings: Settings,
    *,
    by_cron: bool,
    deadline_seconds: float = DEADLINE_SECONDS,
) -> Probing:
    """Probe the entities of a connector that are not due; those with news are due afterwards.

    Raises:
        DatabaseUnavailableError, DatabaseRefusedError: from the catalog.
    """
    if not connector.probe_changes or not connector.is_active:
        return Probing()
    health = source_health(database, connector.uid)
    if health.silent_seconds > 0:
        return Probing(trouble=health.error, silent_seconds=health.silent_seconds)
    limits = RunLimits.from_settings(connector.settings)
    candidates = list_candidates(
        database,
        connector.uid,
        by_cron=by_cron,
        interval_seconds=limits.probe_interval_seconds or settings.schedule.probe_interval_seconds,
        limit=MAX_CANDIDATES,
    )
    if not candidates:
        return Probing()
    kind = source_kind(connector)
    prober = kind.open_prober(
        connector,
        settings,
        database,
        seconds=REQUEST_SECONDS,
    )
    if prober is None:
        return Probing()
    candidates = [one for one in candidates if prober.can_probe(one.slug)]
    if not candidates:
        return Probing()
    work = _Work(prober, candidates, time.monotonic() + deadline_seconds)
    work.run()
    found = work.found
    found.left = len(candidates) - found.probed
    without_news = [*found.quiet, *found.failed]
    record_probes(database, without_news, found.news)
    if found.probed or found.trouble:
        health = record_source_health(database, connector.uid, found.trouble)
        found.silent_seconds = health.silent_seconds
    return found


class _Work:
    """The threads of one tick."""

    def __init__(
        self,
        prober: Prober,
        candidates: list[Candidate],
        ends_at: float,
    ) -> None:
        self.found = Probing()
        self._prober = prober
        self._ends_at = ends_at
        affordable = self._affordable(len(candidates))
        self._waiting = iter(candidates[:affordable])
        self._threads = min(prober.max_connections, len(candidates))
        self._lock = threading.Lock()
        self._troubles = 0

    def _affordable(self, count: int) -> int:
        """How many candidates the share of the rate limit allows until the deadline, at least one."""
        rate = self._prober.requests_per_second
        if rate is None:
            return count
        seconds = self._ends_at - time.monotonic()
        allowed = int(rate * RATE_SHARE * seconds)
        return min(count, max(1, allowed))

    def run(self) -> None:
        """Probe until all are done, the deadline is over, or the source does not answer."""
        with ThreadPoolExecutor(self._threads, "probe") as pool:
            workers = [pool.submit(self._drain) for _ in range(self._threads)]
            for worker in workers:
                worker.result()
        if self._troubles <= self.found.answered:
            self.found.trouble = None

    def _drain(self) -> None:
        while (candidate := self._next()) is not None:
            patience = max(0.0, self._ends_at - time.monotonic())
            try:
                first = self._prober.first_after(
                    candidate.slug,
                    candidate.seen,
                    patience,
                )
            except NoTurnError:
                self._ends_at = 0.0  # left for the next tick
                return
            except SyncError as error:
                self._fail(candidate, error)
            else:
                self._note(candidate, first)

    def _note(self, candidate: Candidate, first: str | None) -> None:
        with self._lock:
            if first is None:
                self.found.quiet.append(candidate.uid)
                return
            codec = Codec(candidate.codec)
            if is_news(codec, candidate.seen, first, candidate.found):
                self.found.news[candidate.uid] = first
            else:
                self.found.quiet.append(candidate.uid)

    def _next(self) -> Candidate | None:
        with self._lock:
            if time.monotonic() >= self._ends_at:
                return None
            return next(self._waiting, None)

    def _fail(self, candidate: Candidate, error: SyncError) -> None:
        with self._lock:
            self.found.failed.append(candidate.uid)
            logger.info("the probe of %s failed: %s", candidate.slug, error)
            weight = _weight(error)
            if not weight:
                return
            self._troubles += weight
            self.found.trouble = printable(error.what, 500)
            if self._troubles >= self.found.answered + _PATIENCE_TROUBLES:
                self._ends_at = 0.0


def _weight(error: SyncError) -> int:
    """How much a failed probe counts against its source; 0 where it is a matter of the one entity."""
    match error:
        case SourceUnreachableError() | SourceBusyError():
            return 1
        case SourceContractError():
            return 0
        case ConfigurationError():
            return MAX_CANDIDATES  # the same for every entity
        case _:
            return 0
