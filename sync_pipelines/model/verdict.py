"""Whether a run that published is a success: too many rejected records, or deletions that wait, are none."""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipelines.model.entity import Entity
from sync_pipelines.model.run import Ledger, Mode, RunStatus


@dataclass(frozen=True)
class RejectionLimits:
    """How many rejected records a run may have; the check, the incident and the run's status share it.

    Attributes:
        max_share: of the judged records.
        min_records: judged records below which the share says nothing.
    """

    max_share: float = 0.2
    min_records: int = 10


@dataclass(frozen=True)
class Verdict:
    """The status of a published run; the sentence and the way out where it is no success."""

    status: RunStatus = RunStatus.SUCCESS
    reason: str | None = None
    next_command: str | None = None


def freshens(status: RunStatus, ledger: Ledger) -> bool:
    """Whether a published read makes its table as fresh as the source: not one that was rejected without one good
    record.
    """
    return ledger.good > 0 or status is not RunStatus.REJECTED


def plan_verdict(
    entity: Entity,
    run_uid: object,
    ledger: Ledger,
    mode: Mode,
    limits: RejectionLimits,
    *,
    known_rejects: int = 0,
    row_count: int = 0,
    held_deletions: int = 0,
    live_before: int = 0,
) -> Verdict:
    """Judge a run that is about to close its books.

    A run that fetched records and has no good one is REJECTED, however few they were; otherwise the share decides. A
    delta reads its last group again: what is in quarantine already was judged by the run that brought it there.

    Args:
        entity: whose run.
        run_uid: names the run in the commands.
        ledger: of the run.
        mode: of the run.
        limits: of the rejections.
        known_rejects: rejected records of the run that were in quarantine before.
        row_count: live rows after the run.
        held_deletions: rows that the read missed and that are not deleted.
        live_before: live rows that the read was compared with.
    """
    rejected = ledger.quarantined
    judged = ledger.judged
    if mode is Mode.DELTA and row_count:
        rejected = rejected - known_rejects
        judged = judged - known_rejects
    command = f"sync-pipelines quarantine list {entity.path} --run {run_uid}"
    if rejected and not ledger.good:
        return Verdict(
            RunStatus.REJECTED,
            f"None of the {ledger.judged} records was good; they are in quarantine.",
            command,
        )
    share = rejected / judged if judged else 0.0
    if judged >= limits.min_records and share > limits.max_share:
        message = (
            f"{rejected} of {judged} records were rejected ({share:.1%}, allowed {limits.max_share:.1%});"
            " the others are in the table."
        )
        return Verdict(RunStatus.REJECTED, message, command)
    if held_deletions:
        message = (
            f"A full read misses {held_deletions} of {live_before} live rows, more than the share of"
            f" {entity.policy.max_vanished_share:g} that may vanish at once. They stay until somebody decides;"
            " what is new or changed is in the table."
        )
        accept = (
            f"sync-pipelines sync {entity.path} --full-refresh --accept-vanished, if it is true"
        )
        return Verdict(RunStatus.INCOMPLETE, message, accept)
    return Verdict()
