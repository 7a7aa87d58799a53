"""What becomes of rows that a full read missed; both destinations ask the same function."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sync_pipelines.destinations.vanished import VanishPlan, plan_vanished
from sync_pipelines.model.run import Mode
from sync_pipelines_tests.destinations.test_verdicts import read, request

SURE = read(keyset=True)
HIDING = read(keyset=False)


def test_a_read_that_can_hide_no_row_deletes_what_it_missed() -> None:
    plan = plan_vanished(request(Mode.FULL), SURE, live=10, missed=3, missed_before=0)
    assert plan == VanishPlan(deleted=3)


def test_where_a_row_can_hide_only_the_second_absence_deletes_it() -> None:
    plan = plan_vanished(request(Mode.FULL), HIDING, live=10, missed=3, missed_before=1)
    assert plan == VanishPlan(deleted=1, noted=2)
    assert plan.missing == 2


@pytest.mark.parametrize(("missed", "is_held"), [(5, False), (6, True)])
def test_more_than_the_configured_share_stays_until_somebody_accepts_it(
    missed: int, is_held: bool
) -> None:
    asked = request(Mode.FULL)
    plan = plan_vanished(asked, SURE, live=10, missed=missed, missed_before=0)
    assert plan == (VanishPlan(held=missed) if is_held else VanishPlan(deleted=missed))
    accepted = replace(asked, accept_vanished=True)
    plan = plan_vanished(accepted, SURE, live=10, missed=missed, missed_before=0)
    assert plan == VanishPlan(deleted=missed)


def test_what_is_held_is_remembered_and_not_announced() -> None:
    plan = plan_vanished(request(Mode.FULL), HIDING, live=10, missed=8, missed_before=2)
    assert plan == VanishPlan(noted=6, held=8)
    assert plan.missing == 0


def test_a_read_whose_pages_moved_proves_no_absence() -> None:
    moved = replace(HIDING, moved=True)
    assert plan_vanished(request(Mode.FULL), moved, live=10, missed=3, missed_before=3) == (
        VanishPlan()
    )
