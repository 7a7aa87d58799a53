"""Status words at their edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sync_pipelines.model.entity import EntityStatus
from sync_pipelines.model.freshness import (
    StatusWord,
    Windows,
    freshness_windows,
    plan_freshness,
    status_word,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def word(age_seconds: float | None = 0, **changes) -> StatusWord:
    known = {
        "status": EntityStatus.ACTIVE,
        "sync_enabled": True,
        "sync_interval_seconds": 300,
        "grace_seconds": 60,
        **changes,
    }
    last = None if age_seconds is None else NOW - timedelta(seconds=age_seconds)
    return status_word(**known, last_success_at=last, now=NOW)


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0, "on time"),
        (360, "on time"),
        (360.001, "late"),
        (660, "late"),
        (660.001, "error"),
        (10**7, "error"),
        (-5, "on time"),
    ],
)
def test_late_after_one_interval_and_in_error_after_two(age, expected):
    assert word(age) == expected


def test_without_grace_the_words_change_at_the_intervals_themselves():
    assert [word(age, grace_seconds=0) for age in (300, 301, 600, 601)] == [
        "on time",
        "late",
        "late",
        "error",
    ]


def test_what_a_person_must_do_comes_before_how_old_the_table_is():
    assert word(10**6, status=EntityStatus.ACTION_REQUIRED) == "action required"
    assert word(10**6, status=EntityStatus.VANISHED, sync_enabled=False) == "vanished"
    assert word(10**6, sync_enabled=False) == "switched off"
    assert word(None) == "never synced"
    assert word(None, last_status="rejected") == "rejected", "nothing good ever came"
    assert word(10**6, last_status="rejected") == "rejected"
    assert word(0, held_deletions=3) == "deletions held"
    assert word(0, last_status="rejected", status=EntityStatus.ACTION_REQUIRED) == "action required"
    assert word(None, sync_enabled=False) == "switched off"


def test_freshness_is_asked_only_of_what_is_synced():
    assert plan_freshness(EntityStatus.ACTIVE, sync_enabled=True)
    assert not plan_freshness(EntityStatus.ACTIVE, sync_enabled=False)
    assert not plan_freshness(EntityStatus.VANISHED, sync_enabled=True)
    assert plan_freshness(EntityStatus.ACTION_REQUIRED, sync_enabled=True), (
        "a stopped table gets old all the same"
    )


def test_the_windows_are_one_and_two_intervals_and_the_grace():
    assert freshness_windows(86_400, 60) == Windows(86_460, 172_860)
    assert freshness_windows(1, 0) == Windows(1, 2)
