"""One write as one Iceberg commit: conflicts are tried again whole, and a lost answer is looked up."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.destinations.trino.session import (
    LostAnswerError,
    QueryFailedError,
    Session,
    kill_query,
    query_state,
    running_queries,
)
from sync_pipelines.errors import DatabaseUnavailableError
from sync_pipelines.model.quoting import literal

logger = logging.getLogger(__name__)

LOOK_SECONDS = 120.0
_PAUSE_SECONDS = 0.3


@dataclass(frozen=True)
class Snapshot:
    """A commit, and what Iceberg counted of it and of the table after it."""

    snapshot_id: int
    query_id: str
    summary: dict[str, str]

    def number(self, name: str) -> int:
        """A counter of the summary, 0 when it is not there."""
        return int(self.summary.get(name, 0))

    @property
    def details(self) -> dict[str, Any]:
        """What runs and assets show of it."""
        return {
            "snapshot_id": self.snapshot_id,
            "query_id": self.query_id,
            "added_records": self.number("added-records"),
            "data_files": self.number("total-data-files"),
            "delete_files": self.number("total-delete-files"),
            "total_bytes": self.number("total-files-size"),
        }


def find_snapshot(place: Place, query_id: str) -> Snapshot | None:
    """The snapshot that a query made."""
    snapshots = place.beside(f"{place.entity.target_table}$snapshots")
    made_by = "element_at(summary, 'trino_query_id')"
    rows = place.session.query(
        f"SELECT snapshot_id, {made_by}, cast(summary AS json) FROM {snapshots}"
        f" WHERE {made_by} = {literal(query_id)} ORDER BY committed_at DESC LIMIT 1"
    )
    if not rows:
        return None
    snapshot_id, found, summary = rows[0]
    return Snapshot(snapshot_id, found or "", json.loads(summary))


def commit(
    session: Session,
    statement: str,
    marker: str,
    found: Callable[[str], Snapshot | None],
    again: Callable[[], str | None],
) -> tuple[int | None, str]:
    """Run a write until it is committed once.

    Args:
        session: statements.
        statement: the write, with `marker` in its text.
        marker: of the run, by which its statement is found when the id is not known.
        found: looks for the snapshot of a query id.
        again: the statement for another attempt, made from the table as it is then; None when nothing is left to do.

    Returns:
        Rows that Trino says it wrote (None when only the snapshot shows them), and the id of the query that committed.

    Raises:
        DatabaseUnavailableError: conflicts or failures beyond the configured tries, or Trino stays away.
    """
    tries = session.options.conflict_tries
    for attempt in range(1, tries + 1):
        try:
            answer = session.execute(statement)
            return answer.written, answer.query_id
        except LostAnswerError as lost:
            query_id = _settle(session, marker, lost)
            if query_id is not None and found(query_id) is not None:
                return None, query_id
            trouble: DatabaseUnavailableError = lost
        except QueryFailedError as failed:
            if attempt == tries:
                raise
            trouble = failed
        logger.warning("attempt %s of %s to commit failed: %s", attempt, tries, trouble.what)
        jitter = random.uniform(0.5, 1.5)
        time.sleep(jitter * _PAUSE_SECONDS * min(2**attempt, 32))
        repeated = again()
        if repeated is None:
            return 0, ""
        statement = repeated
    raise DatabaseUnavailableError(
        f"The commit did not go through in {tries} tries: {trouble.what}"
    )


def _settle(session: Session, marker: str, lost: LostAnswerError) -> str | None:
    """Wait until nothing of the statement runs any more; returns its query id as far as it is known.

    Raises:
        LostAnswerError: the coordinator stays away; the next run looks again.
    """
    deadline = time.monotonic() + LOOK_SECONDS
    query_id = lost.query_id
    while True:
        try:
            if query_id is None:
                query_id = next(iter(running_queries(session, marker)), None)
            if query_id is None or _has_ended(session, query_id):
                return query_id or _last_query(session, marker)
        except (LostAnswerError, QueryFailedError) as error:
            if time.monotonic() > deadline:
                raise lost from error
        if time.monotonic() > deadline:
            raise lost
        time.sleep(0.5)


def _has_ended(session: Session, query_id: str) -> bool:
    """The query runs no more; one that the coordinator does not know ended long ago."""
    return query_state(session, query_id) in (None, "FINISHED", "FAILED")


def _last_query(session: Session, marker: str) -> str | None:
    rows = session.query(
        f"SELECT query_id FROM system.runtime.queries WHERE strpos(query, {literal(marker)}) > 0"
        " AND strpos(query, 'system.runtime') = 0 AND state = 'FINISHED' ORDER BY created DESC LIMIT 1"
    )
    return rows[0][0] if rows else None


def end_leftovers(session: Session, marker: str) -> int:
    """End writes of earlier runs of the entity that still run without anybody waiting for them; returns how many."""
    leftovers = running_queries(session, marker)
    deadline = time.monotonic() + LOOK_SECONDS
    for query_id in leftovers:
        kill_query(session, query_id, "its run has ended")
        while not _has_ended(session, query_id):
            if time.monotonic() > deadline:
                raise DatabaseUnavailableError(
                    f"The statement {query_id} of an earlier run does not end."
                )
            time.sleep(0.3)
    return len(leftovers)
