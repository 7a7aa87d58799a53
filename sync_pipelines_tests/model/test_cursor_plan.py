"""How far a cursor may go after a read: lookback, marks, and what is still open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.model.cursor_plan import CursorMark, plan_cursor, plan_marks

NOW = datetime(2024, 6, 30, 12, 0, tzinfo=UTC)


def digits_at(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S")


@given(
    st.sampled_from([Codec.INTEGER, Codec.DIGITS]),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 1000)), max_size=8),
    st.none() | st.integers(0, 1000),
    st.none() | st.integers(0, 1000),
    st.integers(0, 300),
    st.floats(0, 100),
)
def test_the_cursor_never_goes_back_and_never_beyond_what_the_read_reached(
    codec: Codec,
    ages_and_positions: list[tuple[int, int]],
    current: int | None,
    last: int | None,
    lookback_seconds: int,
    read_seconds: float,
) -> None:
    assume(current is None or last is None or last > current)
    write = (
        (lambda number: digits_at(NOW - timedelta(seconds=1000 - number)))
        if codec is Codec.DIGITS
        else str
    )
    planned = plan_cursor(
        codec,
        current=None if current is None else write(current),
        marks=tuple(
            CursorMark(NOW - timedelta(seconds=age), write(position))
            for age, position in ages_and_positions
        ),
        started_at=NOW,
        read_seconds=read_seconds,
        last=None if last is None else write(last),
        below_last=None if not last else write(last - 1),
        lookback_seconds=lookback_seconds,
    )
    if planned is None:
        assert current is None
        return
    key = order_key(codec, planned)
    bounds = [order_key(codec, write(bound)) for bound in (current, last) if bound is not None]
    assert key <= max(bounds)
    if current is not None:
        assert key >= order_key(codec, write(current))
    if (
        last is not None
        and key > order_key(codec, write(-1 if current is None else current))
        and lookback_seconds
    ):
        # Either a time ago by the rowversion's own clock, or a mark that is old enough.
        old = [
            order_key(codec, write(position))
            for age, position in ages_and_positions
            if age >= lookback_seconds
        ]
        below_last = order_key(codec, write(last - 1)) if last else None
        assert key in old or key == below_last or codec is Codec.DIGITS
        assert key < order_key(codec, write(last)), "the last group is still open"


def plan(codec: Codec, **changes: object) -> str | None:
    facts: dict[str, object] = {
        "current": None,
        "marks": (),
        "started_at": NOW,
        "read_seconds": 5.0,
        "last": None,
        "below_last": None,
        "lookback_seconds": 60,
    }
    return plan_cursor(codec, **{**facts, **changes})  # type: ignore[arg-type]


def test_without_lookback_the_position_below_the_last_is_safe() -> None:
    assert plan(Codec.INTEGER, current="5", last="9", below_last="8", lookback_seconds=0) == "8"
    assert plan(Codec.INTEGER, current="5", last="9", below_last=None, lookback_seconds=0) == "5"


def test_a_time_steps_back_by_lookback_reading_time_and_a_granule() -> None:
    assert plan(Codec.DIGITS, last="20240630120000") == "20240630115853"


def test_the_group_of_the_last_rowversion_stays_open_however_old_it_is() -> None:
    marks = (CursorMark(NOW - timedelta(days=9), "40"),)
    for codec in (Codec.INTEGER, Codec.OPAQUE):
        assert plan(codec, current="5", marks=marks, last="40", below_last="39") == "39"
        assert plan(codec, current="39", marks=marks, last="40", below_last=None) == "39"
        assert plan(codec, current=None, marks=marks, last="40", below_last=None) is None


def test_a_number_moves_only_to_a_mark_that_is_as_old_as_the_lookback() -> None:
    marks = (
        CursorMark(NOW - timedelta(seconds=59), "30"),
        CursorMark(NOW - timedelta(seconds=61), "20"),
    )
    assert plan(Codec.INTEGER, current="5", marks=marks, last="40") == "20"


def test_marks_in_any_order_give_the_newest_old_one_even_when_opaque() -> None:
    marks = tuple(
        CursorMark(NOW - timedelta(seconds=age), name)
        for age, name in ((70, "b"), (300, "z"), (10, "c"))
    )
    assert plan(Codec.OPAQUE, current="a", marks=marks, last="d") == "b"


@pytest.mark.parametrize("codec", [Codec.INTEGER, Codec.TEXT, Codec.OPAQUE])
def test_an_answer_that_is_empty_by_mistake_moves_no_cursor(codec: Codec) -> None:
    marks = (CursorMark(NOW - timedelta(seconds=100), "50"),)
    assert plan(codec, current="10", marks=marks, last=None) == "10"


def test_a_read_that_broke_off_early_moves_the_cursor_no_further_than_it_came() -> None:
    marks = (
        CursorMark(NOW - timedelta(seconds=300), "20"),
        CursorMark(NOW - timedelta(seconds=100), "50"),
    )
    assert plan(Codec.INTEGER, current="10", marks=marks, last="30") == "20"


@pytest.mark.parametrize(
    ("codec", "future", "genuine", "expected"),
    [
        (Codec.DIGITS, "99991231235959", "20240630120000", "20240630115853"),
        (Codec.TIMESTAMP, "9999-12-31T23:59:59Z", "2024-06-30T12:00:00Z", "2024-06-30T11:58:53Z"),
    ],
)
def test_a_rowversion_of_the_far_future_does_not_carry_the_cursor_away(
    codec: Codec, future: str, genuine: str, expected: str
) -> None:
    marks = (CursorMark(NOW - timedelta(seconds=100), future),)
    assert plan(codec, last=future, below_last=genuine, marks=marks) == expected
    assert plan(codec, last=future, below_last=None, marks=marks) is None


def test_a_local_time_ahead_of_utc_is_no_future() -> None:
    assert plan(Codec.DIGITS, last=digits_at(NOW + timedelta(hours=14))) is not None


@pytest.mark.parametrize(
    ("interval", "lookback_seconds"), [(1, 60), (10, 60), (60, 3600), (300, 60), (59, 60)]
)
def test_marks_stay_few_and_the_cursor_follows_however_often_we_sync(
    interval: int, lookback_seconds: int
) -> None:
    marks: tuple[CursorMark, ...] = ()
    cursor: str | None = None
    rounds = 5 * lookback_seconds // interval + 50
    for number in range(1, rounds + 1):
        started_at = NOW + timedelta(seconds=number * interval)
        cursor = plan(
            Codec.INTEGER,
            current=cursor,
            marks=marks,
            started_at=started_at,
            last=str(number),
            lookback_seconds=lookback_seconds,
        )
        marks = plan_marks(marks, CursorMark(started_at, str(number)), started_at, lookback_seconds)
        assert len(marks) <= 25
    behind_seconds = (rounds - int(cursor or 0)) * interval
    assert behind_seconds <= 1.2 * lookback_seconds + 2 * interval


@given(st.lists(st.integers(0, 500), max_size=60), st.integers(0, 200))
def test_marks_are_kept_in_order_with_at_most_one_that_is_old(
    ages: list[int], lookback_seconds: int
) -> None:
    marks = tuple(CursorMark(NOW - timedelta(seconds=age), str(age)) for age in ages)
    kept = plan_marks(marks, None, NOW, lookback_seconds)
    assert set(kept) <= set(marks)
    assert [mark.at for mark in kept] == sorted(mark.at for mark in kept)
    assert sum(mark.at <= NOW - timedelta(seconds=lookback_seconds) for mark in kept) <= 1
    old = [age for age in ages if age >= lookback_seconds]
    if old:
        assert kept[0].position == str(min(old))


@given(st.datetimes(timezones=st.just(UTC)), st.text(max_size=20))
def test_a_mark_survives_its_json_form(at: datetime, position: str) -> None:
    assert CursorMark.from_json(CursorMark(at, position).as_json()) == CursorMark(at, position)
