"""Consequences, groups and the diff of incidents: one message when it begins, one when it is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.model.incident import Condition, Incident, IncidentKind
from sync_pipelines.observe.diff import IncidentDiff, diff_incidents
from sync_pipelines.observe.grouping import group_conditions, without_consequences

NOW = datetime(2026, 1, 1, tzinfo=UTC)
K = IncidentKind


def condition(kind: IncidentKind = K.FRESHNESS, subject: str = "erp/items", **details) -> Condition:
    return Condition(kind, subject, "It is old.", "do it", details)


def incident(
    kind: IncidentKind = K.FRESHNESS, subject: str = "erp/items", quiet_seconds: float | None = None
) -> Incident:
    quiet = None if quiet_seconds is None else NOW - timedelta(seconds=quiet_seconds)
    return Incident(uuid4(), kind, subject, "It is old.", "do it", {}, NOW, NOW, quiet, None)


def keys(conditions: list[Condition]) -> set[tuple[str, str]]:
    return {one.key for one in conditions}


def test_what_follows_from_an_unreachable_source_opens_no_incident():
    down = condition(K.SOURCE_UNREACHABLE, "erp")
    reported = without_consequences(
        [
            down,
            condition(K.FRESHNESS),
            condition(K.FAILURE_RATE, "erp"),
            condition(K.CONSECUTIVE_FAILURES, category="unreachable"),
            condition(K.CONSECUTIVE_FAILURES, "erp/parts", category="decision"),
            condition(K.FRESHNESS, "crm/items"),
        ],
        [],
    )
    assert keys(reported) == {
        down.key,
        (K.CONSECUTIVE_FAILURES, "erp/parts"),
        (K.FRESHNESS, "crm/items"),
    }


def test_consequences_open_no_incident_until_the_incident_is_over_so_that_syncs_can_catch_up():
    assert (
        without_consequences(
            [condition(K.FRESHNESS)], [incident(K.SOURCE_UNREACHABLE, "erp", quiet_seconds=10)]
        )
        == []
    )


def test_an_incident_that_was_reported_goes_on_and_is_not_closed_by_a_larger_trouble():
    old = incident(K.FRESHNESS)
    assert keys(
        without_consequences(
            [condition(K.SOURCE_UNREACHABLE, "erp"), condition(K.FRESHNESS)], [old]
        )
    ) >= {old.key}


def test_an_entity_that_fails_or_is_still_read_gets_no_second_incident_for_being_old():
    assert keys(
        without_consequences([condition(K.CONSECUTIVE_FAILURES), condition(K.FRESHNESS)], [])
    ) == {(K.CONSECUTIVE_FAILURES, "erp/items")}
    assert keys(without_consequences([condition(K.RUN_DURATION), condition(K.FRESHNESS)], [])) == {
        (K.RUN_DURATION, "erp/items")
    }


def test_many_new_troubles_of_a_kind_are_one():
    five = [condition(subject=f"erp/e{number}") for number in range(5)]
    assert group_conditions(five, [], 5) == five
    [one] = group_conditions([*five, condition(subject="erp/e5")], [], 5)
    assert one.key == (K.FRESHNESS, "erp")
    assert one.message.startswith("6 entities of erp: e0, e1")
    assert one.next_command == "sync-pipelines entities erp"


def test_ten_thousand_make_a_short_message():
    [one] = group_conditions(
        [condition(subject=f"erp/e{number:05}") for number in range(10_000)], [], 5
    )
    assert len(one.message) < 400
    assert len(one.details["entities"]) == 20


def test_groups_are_of_one_connector_and_one_kind():
    mixed = [condition(subject=f"erp/e{n}") for n in range(4)] + [
        condition(subject=f"crm/e{n}") for n in range(4)
    ]
    mixed += [condition(K.SLOW_SOURCE, f"erp/e{n}") for n in range(4)]
    assert group_conditions(mixed, [], 5) == mixed


def test_entities_with_incidents_of_their_own_keep_them_and_a_group_lives_to_its_end():
    own, group = incident(subject="erp/e0"), incident(subject="erp")
    many = [condition(subject=f"erp/e{n}") for n in range(7)]
    assert keys(group_conditions(many, [own], 5)) == {own.key, (K.FRESHNESS, "erp")}
    assert keys(group_conditions(many[:2], [own, group], 5)) == {own.key, group.key}
    assert keys(group_conditions(many[:1], [own, group], 5)) == {own.key}


def test_new_is_opened_known_is_seen_gone_is_quiet_and_long_gone_is_closed():
    seen, quiet, closed, waits = (
        incident(subject="erp/a"),
        incident(subject="erp/b"),
        incident(subject="erp/c", quiet_seconds=300),
        incident(subject="erp/d", quiet_seconds=299),
    )
    diff = diff_incidents(
        [seen, quiet, closed, waits],
        [condition(subject="erp/a"), condition(subject="erp/new")],
        NOW,
        300,
    )
    assert diff == IncidentDiff(
        (condition(subject="erp/new"),), ((seen, condition(subject="erp/a")),), (quiet,), (closed,)
    )


def test_a_sticky_incident_is_over_only_when_it_is_said():
    died = incident(K.RUN_FAILED, "sync_erp", quiet_seconds=10**6)
    assert diff_incidents([died], [], NOW, 300) == IncidentDiff()
    assert diff_incidents([died], [], NOW, 300, {died.uid}).closed == (died,)


@given(st.lists(st.booleans(), max_size=60), st.integers(0, 5))
def test_however_it_flaps_every_beginning_has_at_most_one_end_and_gaps_shorter_than_the_quiet_time_are_not_reported(
    there, quiet_ticks
):
    open_: list[Incident] = []
    reported: list[tuple[int, str]] = []
    for tick, present in enumerate(there):
        now = NOW + timedelta(seconds=tick)
        diff = diff_incidents(open_, [condition()] if present else [], now, quiet_ticks)
        for one in diff.opened:
            open_.append(Incident(uuid4(), one.kind, one.subject, "", "", {}, now, now, None, None))
            reported.append((tick, "opened"))
        open_ = [
            Incident(**{**vars(one), "quiet_since": None})
            if one in [i for i, _ in diff.seen]
            else one
            for one in open_
        ]
        open_ = [
            Incident(**{**vars(one), "quiet_since": now}) if one in diff.quiet else one
            for one in open_
        ]
        open_ = [one for one in open_ if one not in diff.closed]
        reported += [(tick, "closed")] * len(diff.closed)
        assert len(open_) <= 1
        assert bool(open_) or not present
    assert [word for _, word in reported] == (["opened", "closed"] * len(reported))[: len(reported)]
    for (end, word), (start, _) in zip(reported, reported[1:], strict=False):
        if word == "closed":
            assert start - max(tick for tick in range(end) if there[tick]) > quiet_ticks
