"""When a run that published is a success."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from sync_pipelines.model.entity import Column, DeltaStrategy, Entity, SyncPolicy
from sync_pipelines.model.run import Ledger, Mode, RunStatus
from sync_pipelines.model.verdict import RejectionLimits, plan_verdict

ENTITY = Entity(
    uuid4(),
    "erp",
    "items",
    "Items",
    "",
    DeltaStrategy.FULL,
    (Column("id", "BIGINT", False, True),),
    "erp",
    "items",
)


def status(good: int, bad: int, mode: Mode = Mode.FULL, **facts: int) -> RunStatus:
    ledger = Ledger(good + bad + 2, inserted=good, quarantined=bad, superseded=2)
    return plan_verdict(
        ENTITY, "RUN", ledger, mode, RejectionLimits(0.2, 10), **{"row_count": 100, **facts}
    ).status


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        (0, 0, RunStatus.SUCCESS),
        (0, 1, RunStatus.REJECTED),
        (1, 1, RunStatus.SUCCESS),
        (3, 1, RunStatus.SUCCESS),
        (1, 8, RunStatus.SUCCESS),
        (7, 3, RunStatus.REJECTED),
        (8, 2, RunStatus.SUCCESS),
    ],
)
def test_nothing_good_is_no_success_and_a_share_counts_from_ten_records(
    good: int, bad: int, expected: RunStatus
) -> None:
    assert status(good, bad) is expected


def test_a_delta_does_not_judge_again_what_lies_in_quarantine_already() -> None:
    assert status(0, 12, Mode.DELTA, known_rejects=12) is RunStatus.SUCCESS
    assert status(0, 12, Mode.DELTA, known_rejects=11) is RunStatus.REJECTED
    assert status(10, 12, Mode.DELTA, known_rejects=12) is RunStatus.SUCCESS
    assert status(0, 12, Mode.FULL, known_rejects=12) is RunStatus.REJECTED


def test_a_table_without_any_row_is_no_success_whoever_knew_of_its_rejects() -> None:
    assert status(0, 3, Mode.DELTA, known_rejects=3, row_count=0) is RunStatus.REJECTED


def test_held_deletions_are_incomplete_and_name_the_way_out() -> None:
    verdict = plan_verdict(
        replace(ENTITY, policy=SyncPolicy(max_vanished_share=0.5)),
        "RUN",
        Ledger(1, unchanged=1),
        Mode.FULL,
        RejectionLimits(),
        held_deletions=6,
        live_before=7,
    )
    assert verdict.status is RunStatus.INCOMPLETE
    assert "6 of 7 live rows" in str(verdict.reason)
    assert "--accept-vanished" in str(verdict.next_command)


def test_an_exit_code_says_whether_somebody_must_act() -> None:
    assert {one: one.exit_code for one in RunStatus if one is not RunStatus.RUNNING} == {
        RunStatus.SUCCESS: 0,
        RunStatus.REJECTED: 3,
        RunStatus.INCOMPLETE: 3,
        RunStatus.FAILED: 1,
        RunStatus.CANCELLED: 1,
    }
