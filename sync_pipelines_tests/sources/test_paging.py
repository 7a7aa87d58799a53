"""The paging protocol against a source in memory: rows that move, ties, caps, and sources that break the contract."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import CursorProtocolError, SourceContractError
from sync_pipelines.model.cursor import Codec
from sync_pipelines.sources.paging import read_keyset
from sync_pipelines.sources.reading import Pager, Reading
from sync_pipelines_tests.sources.simulated import Copy, Source, kept

CODECS = pytest.mark.parametrize("codec", [Codec.DIGITS, Codec.INTEGER], ids=str)


def filled(
    count: int, codec: Codec = Codec.DIGITS, *, step_seconds: float = 1.0, **options: object
) -> Source:
    """A source with rows 0, 1, 2, … written one after the other."""
    source = Source(codec, **options)  # type: ignore[arg-type]
    for key in range(count):
        source.write(key)
        source.tick(step_seconds)
    return source


def touch_an_early_row(source: Source, at_requests: set[int], keys: list[int]) -> None:
    """Update rows that were read already, so that all later ones move one place to the front."""

    def change(request: int) -> None:
        source.tick(1)
        if request in at_requests:
            source.write(keys[request % len(keys)])

    source.on_fetch = change


def test_syncflows_own_loop_loses_a_row_that_moves_over_a_page_border_for_ever() -> None:
    source = filled(25)
    touch_an_early_row(source, {2}, [3])
    copy = Copy(source)
    copy.sync_like_syncflow()
    assert set(copy.missing) == {10}
    source.on_fetch = lambda request: None
    for _ in range(3):
        source.tick(300)
        copy.sync_like_syncflow()
    assert set(copy.missing) == {10}


def test_ours_finds_every_row_although_they_move() -> None:
    source = filled(25)
    touch_an_early_row(source, {2, 3, 4}, [3, 12, 0])
    copy = Copy(source)
    copy.sync()
    source.on_fetch = lambda request: None
    copy.sync()
    assert copy.missing == {}


@CODECS
@pytest.mark.parametrize("seed", range(4))
def test_heavy_writing_while_we_read_loses_nothing_but_loses_rows_under_syncflows_loop(
    codec: Codec, seed: int
) -> None:
    dice = random.Random(seed)
    source = filled(200, codec, step_seconds=0.05)
    ours, theirs = Copy(source, lookback_seconds=10), Copy(source)

    def write_something(request: int) -> None:
        source.tick(dice.random())
        for _ in range(dice.randrange(3)):
            source.write(dice.randrange(220), dice.random() * 8 if dice.random() < 0.2 else 0.0)

    for _ in range(15):
        source.on_fetch = write_something
        ours.sync()
        if codec is Codec.DIGITS:
            theirs.sync_like_syncflow()
        source.on_fetch = lambda request: None
        source.tick(5)
    source.tick(20)
    ours.sync()
    assert ours.missing == {}
    if codec is Codec.DIGITS:
        theirs.sync_like_syncflow()
        assert theirs.missing


@CODECS
def test_nothing_is_read_again_without_lookback_once_all_is_quiet(codec: Codec) -> None:
    source = filled(25, codec)
    copy = Copy(source, lookback_seconds=0)
    copy.sync()
    requests = source.requests
    copy.sync()
    assert source.requests - requests == 2
    assert copy.missing == {}


@pytest.mark.parametrize("unstable", [False, True])
@pytest.mark.parametrize(
    "sizes", [[9, 2], [10], [10, 10], [11, 1], [30], [1, 30, 1], [3, 25, 3], [5, 5, 20, 7]]
)
def test_ties_over_borders_and_over_whole_pages_arrive_whole(
    sizes: list[int], unstable: bool
) -> None:
    source = Source(unstable=unstable)
    for group, size in enumerate(sizes):
        for number in range(size):
            source.write(100 * group + number)
        source.tick(5)
    for seed in range(5):
        source.dice.seed(seed)
        copy = Copy(source)
        copy.sync()
        assert copy.missing == {}


def test_an_unstable_order_in_a_large_tie_loses_nothing_over_many_reads() -> None:
    lost, unfinished = 0, 0
    for seed in range(80):
        source = Source(unstable=True, dice=random.Random(seed))
        for key in range(25):
            source.write(key)
        source.tick(1)
        source.write(99)
        copy = Copy(source)
        copy.sync()
        unfinished += bool(copy.warnings)
        lost += bool(copy.missing) and not copy.warnings
        if copy.warnings:
            assert copy.cursor is None
    assert lost == 0
    assert unfinished < 8


def test_a_tie_that_never_rests_keeps_the_cursor_and_warns() -> None:
    source = Source()
    for key in range(20):
        source.write(key)
    frozen = source.rows[0].rowversion

    def rewrite(request: int) -> None:
        source.write(request % 20, rowversion=frozen)

    source.on_fetch = rewrite
    copy = Copy(source)
    copy.sync()
    assert copy.cursor is None
    assert "did not come to rest" in copy.warnings[0]


@CODECS
@pytest.mark.parametrize("cap", [1, 3, 9])
def test_a_server_that_caps_its_pages_is_read_to_the_end(codec: Codec, cap: int) -> None:
    source = filled(25, codec, cap=lambda: cap)
    copy = Copy(source)
    copy.sync()
    assert copy.missing == {}


def test_a_cap_that_changes_from_page_to_page_is_read_to_the_end_even_within_a_tie() -> None:
    for seed in range(30):
        dice = random.Random(seed)
        source = Source()
        for number in range(3):
            for key in range(25 if number == 1 else 7):
                source.write(100 * number + key)
            source.tick(5)
        # The offset follows the cap of the moment, so pages of one pass may overlap but must not end early.
        caps = iter([10] + [dice.choice([4, 10]) for _ in range(1000)])
        source.cap = lambda caps=caps: next(caps)
        copy = Copy(source)
        copy.sync()
        assert (
            copy.warnings
            or copy.missing == {}
            or copy.cursor is None
            or copy.cursor < "20240630120005"
        )


def test_a_short_page_within_a_tie_does_not_end_it() -> None:
    source = Source()
    for key in range(30):
        source.write(key)
    source.tick(1)
    source.write(99)
    honest = source.fetch

    def shy(rowversion_gt: str | None, page: int, page_size: int):
        """Pages of ten places of which the second holds back three rows, as a filter behind the paging does."""
        answer = honest(rowversion_gt, page, page_size)
        if page == 2 and answer.count == 10:
            rows = answer.page.rows[:7]
            return type(answer)(type(answer.page)(rows), [row.rowversion for row in rows], 7)
        return answer

    source.fetch = shy  # type: ignore[method-assign]
    copy = Copy(source)
    copy.sync()
    assert 99 in copy.rows
    assert set(range(20, 30)) <= set(copy.rows)


@CODECS
@pytest.mark.parametrize("request_number", [1, 2, 3, 4, 5])
def test_an_empty_answer_in_the_middle_of_a_full_read_deletes_nothing(
    codec: Codec, request_number: int
) -> None:
    source = filled(25, codec)
    copy = Copy(source)
    copy.sync()
    source.empty_answers = {source.requests + request_number}
    copy.sync(full=True)
    assert copy.deleted == set()
    assert copy.missing == {}


@CODECS
@pytest.mark.parametrize("request_number", [1, 2, 3, 4])
def test_an_empty_answer_in_the_middle_of_a_delta_is_made_good_by_the_next(
    codec: Codec, request_number: int
) -> None:
    source = filled(25, codec)
    copy = Copy(source, lookback_seconds=10)
    copy.sync()
    source.tick(100)
    for key in range(100, 130):
        source.write(key, delay_seconds=key % 10)
        source.tick(0.3)
    copy.sync()
    source.tick(30)
    source.empty_answers = {source.requests + request_number}
    copy.sync()
    source.empty_answers = set()
    source.tick(30)
    copy.sync()
    assert copy.missing == {}


def test_an_empty_source_is_an_end_and_moves_nothing() -> None:
    copy = Copy(Source())
    copy.sync()
    assert (copy.rows, copy.cursor, copy.marks) == ({}, None, ())


def test_a_source_that_does_not_sort_is_refused() -> None:
    source = filled(25)
    source.is_sorted = False
    source.rows = dict(sorted(source.rows.items(), reverse=True))
    with pytest.raises(CursorProtocolError, match="not sorted"):
        Copy(source).sync()


def test_a_source_that_ignores_the_filter_is_refused() -> None:
    with pytest.raises(CursorProtocolError, match="was asked for rowversions greater"):
        Copy(filled(25, minds_filter=False)).sync()


def test_a_source_that_ignores_the_page_is_refused() -> None:
    with pytest.raises(SourceContractError, match="ignores `page`"):
        Copy(filled(7, minds_page=False)).sync()


def test_a_tie_on_a_source_that_ignores_the_page_comes_to_an_end_with_an_error() -> None:
    source = Source(minds_page=False)
    for key in range(25):
        source.write(key)
    reading = Reading(Codec.DIGITS)
    with pytest.raises(SourceContractError, match="without coming to an end"):
        list(read_keyset(Pager(source.fetch, 10, 50), reading, after=None, confirm_end=True))


def test_a_source_that_never_ends_is_stopped_after_max_pages() -> None:
    source = filled(20, Codec.INTEGER)
    source.on_fetch = lambda request: [source.write(key) for key in range(20)] and None
    with pytest.raises(SourceContractError, match="without coming to an end") as caught:
        list(
            read_keyset(
                Pager(source.fetch, 10, 30), Reading(Codec.INTEGER), after=None, confirm_end=False
            )
        )
    assert "MAX_PAGES" in str(caught.value)
    assert source.requests <= 31


def test_pages_by_number_end_with_an_empty_page_and_not_with_a_short_one() -> None:
    source = filled(25)
    caps = iter([10, 10, 10, 10, 10])
    source.cap = lambda: next(caps)
    copy = Copy(source)
    copy.sync_by_page()
    assert copy.missing == {}


def test_pages_by_number_that_repeat_are_a_loop() -> None:
    with pytest.raises(SourceContractError, match="looping"):
        Copy(filled(25, minds_page=False)).sync_by_page()


def test_a_page_that_was_empty_only_once_is_no_end() -> None:
    source = filled(25)
    source.empty_answers = {2}
    with pytest.raises(SourceContractError, match="empty once"):
        Copy(source).sync_by_page()


@given(
    st.lists(st.integers(1, 14), min_size=1, max_size=8),
    st.integers(1, 12),
    st.none() | st.integers(1, 12),
    st.booleans(),
)
def test_a_quiet_source_is_read_whole_whatever_its_ties_pages_and_caps(
    groups: list[int], page_size: int, cap: int | None, full: bool
) -> None:
    source = Source(Codec.INTEGER, cap=(lambda: cap) if cap else None)
    key = 0
    for group, size in enumerate(groups):
        for _ in range(size):
            key += 1
            source.write(key, rowversion=str(8 + group))
    pieces = list(
        read_keyset(
            Pager(source.fetch, page_size, 10_000),
            Reading(Codec.INTEGER),
            after=None,
            confirm_end=full,
        )
    )
    assert {row.key for piece in pieces for row in kept(piece)} == set(source.rows)


def test_a_group_of_equal_rowversions_without_end_names_the_answers_of_the_group() -> None:
    source = Source(Codec.INTEGER)
    for key in range(20):
        source.write(key)
    for key in range(20, 100):
        source.write(key, rowversion="21")
    pager = Pager(source.fetch, 10, 8)
    with pytest.raises(SourceContractError, match="asked 5 times in one run"):
        list(read_keyset(pager, Reading(Codec.INTEGER), after=None, confirm_end=False))
    before_the_group = 4
    assert source.requests == before_the_group + 5
