"""When an entity is due again, and which due entities share a run."""

from __future__ import annotations

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.model.due import (
    LARGE_ROWS,
    MAX_JITTER_SECONDS,
    MAX_PROBE_RETRY_SECONDS,
    MAX_RETRY_SECONDS,
    MAX_RUNS,
    DueEntity,
    Kind,
    Reason,
    plan_next,
    plan_next_seconds,
    plan_probe_retry_seconds,
    plan_retry_seconds,
    plan_runs,
)


def due(slug: str = "a", late: float = 1, **options: object) -> DueEntity:
    values = {"uid": uuid4(), "reason": "interval", "reads_all": False, "row_count": 10, **options}
    return DueEntity(slug=slug, seconds_late=late, **values)  # type: ignore[arg-type]


@given(st.uuids(), st.integers(1, 10**7))
def test_an_entity_is_due_within_its_interval_and_always_by_the_same_jitter(
    uid: UUID, interval: int
) -> None:
    seconds = plan_next_seconds(uid, interval)
    assert 0.9 * interval <= seconds <= interval
    assert interval - seconds <= MAX_JITTER_SECONDS
    assert seconds == plan_next_seconds(uid, interval)


def test_what_was_new_is_followed_up_once_after_the_lookback() -> None:
    uid = uuid4()
    seconds, reason = plan_next(uid, 86_400, 60, probed=True, moved=True)
    assert (60 < seconds < 66, reason) == (True, Reason.FOLLOW_UP)
    assert plan_next(uid, 86_400, 0, probed=True, moved=True)[0] > 2
    for interval, probed, moved in ((86_400, True, False), (86_400, False, True), (30, True, True)):
        assert plan_next(uid, interval, 60, probed=probed, moved=moved) == (
            plan_next_seconds(uid, interval),
            Reason.INTERVAL,
        )


def test_entities_of_one_discovery_do_not_stay_together() -> None:
    moments = sorted(plan_next_seconds(uuid4(), 300) for _ in range(1000))
    assert moments[500] - moments[0] > 10
    assert moments[-1] - moments[500] > 10


@given(st.uuids(), st.integers(1, 10**7), st.integers(0, 10_000))
def test_backoff_doubles_and_is_bounded(uid: UUID, interval: int, failures: int) -> None:
    now, later = (
        plan_retry_seconds(uid, interval, failures),
        plan_retry_seconds(uid, interval, failures + 1),
    )
    assert 0 < now <= later <= 1.1 * MAX_RETRY_SECONDS
    assert failures == 0 or later == 2 * now or later >= MAX_RETRY_SECONDS


def test_a_short_interval_is_where_the_backoff_begins() -> None:
    assert [round(plan_retry_seconds(UUID(int=0), 10, failures)) for failures in (1, 2, 3)] == [
        10,
        20,
        40,
    ]
    assert [round(plan_retry_seconds(UUID(int=0), 86_400, failures)) for failures in (1, 2, 8)] == [
        60,
        120,
        3600,
    ]


def test_a_silent_source_is_probed_less_and_less_but_never_forgotten() -> None:
    assert [plan_probe_retry_seconds(failures) for failures in (1, 2, 3, 100)] == [
        30,
        60,
        120,
        MAX_PROBE_RETRY_SECONDS,
    ]


def test_what_is_due_together_shares_one_run_with_what_is_due_soon() -> None:
    [run] = plan_runs([due("a"), due("b", 0, reason="source changed"), due("c", -5)], [], 10)
    assert [entity.slug for entity in run.entities] == ["a", "b", "c"]
    assert run.trigger == "interval, source changed"


def test_what_is_due_only_soon_starts_no_run() -> None:
    assert plan_runs([due("c", -5)], [], 10) == []
    assert plan_runs([], [], 10) == []


def test_a_run_takes_the_latest_first_and_no_more_than_its_limit() -> None:
    [run] = plan_runs([due(str(number), 100 - number) for number in range(25)], [], 10)
    assert [entity.slug for entity in run.entities] == [str(number) for number in range(10)]


def test_large_reads_and_full_reads_run_apart_from_deltas() -> None:
    first = due("first", reads_all=True, row_count=None, reason="first sync")
    small, big = due("small", reads_all=True), due("big", reads_all=True, row_count=LARGE_ROWS)
    whole = due("whole", full_read_due=True, reads_all=True)
    runs = plan_runs([first, small, big, whole, due("delta", row_count=10**9)], [], 10)
    assert {run.kind: [entity.slug for entity in run.entities] for run in runs} == {
        Kind.REGULAR: ["small", "delta"],
        Kind.LARGE: ["first", "big"],
        Kind.FULL_READ: ["whole"],
    }
    assert runs[-1].trigger == "full reconciliation"


def test_while_runs_of_a_kind_have_not_finished_entities_wait_in_the_catalog() -> None:
    candidates = [due("delta"), due("first", reads_all=True, row_count=None)]
    assert [run.kind for run in plan_runs(candidates, [Kind.REGULAR] * MAX_RUNS, 10)] == [
        Kind.LARGE
    ]
    assert [run.kind for run in plan_runs(candidates, [Kind.LARGE, Kind.FULL_READ], 10)] == [
        Kind.REGULAR
    ]
    assert plan_runs(candidates, [Kind.REGULAR, Kind.LARGE] * MAX_RUNS, 10) == []
