"""Rows that a full read no longer found: which of them are marked as deleted, whatever the destination.

A key that is in quarantine is at the source. Of a read whose pages moved, an absence proves nothing. Where a row may
hide between two pages, it must be missed by two reads in a row. More than the configured share is not deleted unasked;
that they were missed is remembered.
"""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipelines.model.publish import PublishRequest, ReadResult


@dataclass(frozen=True)
class VanishPlan:
    """What becomes of the live rows that a full read missed.

    Attributes:
        deleted: how many are marked as deleted: all, or those that an earlier read missed, too.
        noted: how many are remembered as missed for the first time.
        held: how many stay, because they are too many to be deleted unasked.
    """

    deleted: int = 0
    noted: int = 0
    held: int = 0

    @property
    def missing(self) -> int:
        """Rows that the next full read deletes if it misses them, too."""
        return 0 if self.held else self.noted


def plan_vanished(
    request: PublishRequest,
    read: ReadResult,
    *,
    live: int,
    missed: int,
    missed_before: int,
) -> VanishPlan:
    """Plan what becomes of missed rows.

    Args:
        request: of the run.
        read: of the run, a full one.
        live: rows that were live before the run wrote anything.
        missed: live rows that the read did not bring, and whose keys are not among its rejects.
        missed_before: how many of these an earlier full read missed, too; counts only where rows can hide.
    """
    if read.moved:
        return VanishPlan()
    due = missed_before if read.can_hide_rows else missed
    noted = missed - due
    if missed > request.entity.policy.max_vanished_share * live and not request.accept_vanished:
        return VanishPlan(noted=noted, held=missed)
    return VanishPlan(deleted=due, noted=noted)


def not_among(relation: str, match: str) -> str:
    """A condition over t: no record of a relation has the key of the row.

    Args:
        relation: of staged records, or of the keys of rejects.
        match: the keys of t and s are the same.
    """
    return f"NOT EXISTS (SELECT 1 FROM {relation} s WHERE {match})"
