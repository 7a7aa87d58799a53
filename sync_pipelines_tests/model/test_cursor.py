"""Cursors: how rowversions compare, and that a cursor is never where a row could be missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import CursorProtocolError, UnsortedPageError
from sync_pipelines.model.cursor import (
    Codec,
    check_page_order,
    infer_codec,
    order_key,
    subtract_seconds,
)

MOMENTS = st.datetimes(datetime(1950, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001


ZONES = st.sampled_from(["", "Z", "z", "+00:00", "+14:00", "-0330", "-12:00", " +02:00"])


@st.composite
def iso_rowversions(draw: st.DrawFn) -> tuple[str, Decimal]:
    """An ISO text in some notation, and its instant in seconds."""
    moment, zone = draw(MOMENTS).replace(microsecond=0), draw(ZONES)
    digits = draw(st.text("0123456789", max_size=9))
    time = draw(st.sampled_from(["%H:%M:%S", "%H:%M"]))
    if time == "%H:%M":
        moment, digits = moment.replace(second=0), ""
    fraction = draw(st.sampled_from([".", ","])) + digits if digits else ""
    text = moment.strftime(f"%Y-%m-%d{draw(st.sampled_from('T '))}{time}") + fraction + zone
    sign = -1 if "-" in zone else 1
    bare = zone.strip().strip("+-").replace(":", "")
    offset = 0 if bare in ("", "Z", "z") else sign * (int(bare[:2]) * 3600 + int(bare[2:]) * 60)
    return text, Decimal(int(moment.replace(tzinfo=UTC).timestamp()) - offset) + Decimal(
        f"0.{digits or 0}"
    )


@given(st.lists(st.integers(-(10**30), 10**30), min_size=2))
def test_integers_of_any_width_order_as_numbers(numbers: list[int]) -> None:
    assert sorted(numbers) == [
        int(one) for one in sorted(map(str, numbers), key=lambda one: order_key(Codec.INTEGER, one))
    ]


def test_nine_comes_before_ten_as_an_integer_and_is_refused_as_a_text() -> None:
    assert order_key(Codec.INTEGER, "9") < order_key(Codec.INTEGER, "10")
    check_page_order(Codec.INTEGER, ["8", "9", "10", "11"], after="7")
    with pytest.raises(CursorProtocolError, match="'10' has 2 characters where the others have 1"):
        check_page_order(Codec.TEXT, ["8", "9", "10"], after="7")


@pytest.mark.parametrize("codec", [Codec.TEXT, Codec.DIGITS])
def test_a_width_that_changes_between_cursor_and_page_is_refused(codec: Codec) -> None:
    with pytest.raises(CursorProtocolError, match="sort wrongly"):
        check_page_order(codec, ["20240101000000"], after="202401010000000")


@given(
    st.lists(st.integers(0, 16**20), min_size=2), st.sampled_from(["{:x}", "0x{:X}", "0X{:020x}"])
)
def test_hexadecimal_orders_as_numbers(numbers: list[int], notation: str) -> None:
    texts = [notation.format(number) for number in numbers]
    assert sorted(numbers) == [
        int(one, 16) for one in sorted(texts, key=lambda one: order_key(Codec.HEX, one))
    ]


@given(iso_rowversions(), iso_rowversions())
def test_iso_times_order_by_instant_whatever_the_zone_and_digits(
    first: tuple[str, Decimal], second: tuple[str, Decimal]
) -> None:
    left, right = order_key(Codec.TIMESTAMP, first[0]), order_key(Codec.TIMESTAMP, second[0])
    assert (left < right) == (first[1] < second[1])
    assert (left == right) == (first[1] == second[1])


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs"]), min_size=3, max_size=3), min_size=2
    )
)
def test_texts_order_by_code_point_as_postgresql_orders_under_collate_c(texts: list[str]) -> None:
    assert sorted(texts, key=lambda one: order_key(Codec.TEXT, one)) == sorted(
        texts, key=lambda one: one.encode()
    )


@pytest.mark.parametrize(
    ("codec", "rowversion"),
    [
        (Codec.INTEGER, "9a"),
        (Codec.INTEGER, "9\n"),
        (Codec.INTEGER, "٣"),
        (Codec.INTEGER, "1.0"),
        (Codec.INTEGER, ""),
        (Codec.HEX, "0xg"),
        (Codec.HEX, "0x1\n"),
        (Codec.DIGITS, "20241301000000"),
        (Codec.DIGITS, "²0240101000000"),
        (Codec.DIGITS, "2024"),
        (Codec.TIMESTAMP, "2024-06-30T23:59:60Z"),
        (Codec.TIMESTAMP, "0001-01-01T00:00:00+14:00"),
        (Codec.TIMESTAMP, "2024-06-30T12:00:00Z\n"),
        (Codec.TIMESTAMP, "2024-06-30T12:00:00+16:00"),
        (Codec.TIMESTAMP, "2024-06-30T12:00:00+99:99"),
        (Codec.TIMESTAMP, "2024-06-30T12:00:00-05:60"),
        (Codec.TIMESTAMP, "yesterday"),
        (Codec.HTTP_DATE, "Sun, 31 Feb 2024 08:49:37 GMT"),
        (Codec.HTTP_DATE, "Sun, 06 Nov 1994 08:49:37 +0200"),
        (Codec.US_DATE, "17/12/2024"),
        (Codec.US_DATE, "12/17/2024 13:00 PM"),
    ],
)
def test_a_rowversion_of_another_kind_is_refused(codec: Codec, rowversion: str) -> None:
    with pytest.raises(CursorProtocolError, match="is not of the codec"):
        order_key(codec, rowversion)


@pytest.mark.parametrize(
    ("rowversions", "codec"),
    [
        (["20240630120000", "20240630120001"], Codec.DIGITS),
        (["20240630120000123456"], Codec.DIGITS),
        (["8", "9", "10"], Codec.INTEGER),
        (["-5", "5"], Codec.INTEGER),
        (["1719748800", "1719748801"], Codec.INTEGER),
        (["20241330120000", "20240630120001"], Codec.INTEGER),
        (["18000101000000"], Codec.INTEGER),
        (["000007", "000010"], Codec.TEXT),
        (["0000000a", "00000010"], Codec.TEXT),
        (["0x9", "0x10"], Codec.HEX),
        (["2024-06-30T12:00:00Z", "2024-06-30T12:00:00.5Z"], Codec.TIMESTAMP),
        (["2024-06-30"], Codec.TIMESTAMP),
        (["0000000A", "00000010"], Codec.TEXT),
        (["0001-01-01T00:00:00+14:00"], Codec.OPAQUE),
        (["v9", "v10"], Codec.OPAQUE),
        (["v1", "v2"], Codec.OPAQUE),
        (["AAAAAAAAB9g=", "AAAAAAAAB9k="], Codec.OPAQUE),
        (["AAAAAAAB", "AAAAAAAC"], Codec.OPAQUE),
        (["0000000A", "0000000b"], Codec.OPAQUE),
        (["٣", "٤٥"], Codec.OPAQUE),
        (["Sun, 06 Nov 1994 08:49:37 GMT"], Codec.HTTP_DATE),
        (["Wed Oct 10 20:19:24 +0000 2018", "Sun Nov  6 08:49:37 1994"], Codec.CTIME),
        (["12/17/2024 10:00:00", "01/02/2025 10:00:00"], Codec.US_DATE),
        (["17/12/2024", "2/1/2025"], Codec.EU_DATE),
        (["17.12.2024 10:00"], Codec.EU_DATE),
        (["01/02/2025", "02/02/2025"], Codec.OPAQUE),
        (["12/17/2024", "17/12/2024"], Codec.OPAQUE),
    ],
)
def test_the_codec_is_inferred_from_a_first_page(rowversions: list[str], codec: Codec) -> None:
    assert infer_codec(rowversions) is codec


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=25),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_is_inferred_can_be_compared(rowversions: list[str]) -> None:
    codec = infer_codec(rowversions)
    assert all(order_key(codec, rowversion) is not None for rowversion in rowversions)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(-1, 30))
def test_a_page_passes_only_when_it_is_sorted_and_behind_the_cursor(
    numbers: list[int], after: int
) -> None:
    is_right = numbers == sorted(numbers) and numbers[0] > after
    for codec, notation in (
        (Codec.INTEGER, "{}"),
        (Codec.TEXT, "{:05d}"),
        (Codec.DIGITS, "202406301200{:02d}"),
    ):
        page, cursor = (
            [notation.format(number) for number in numbers],
            notation.format(after) if after >= 0 else None,
        )
        try:
            check_page_order(codec, page, cursor)
            assert is_right
        except CursorProtocolError:
            assert not is_right


def test_an_opaque_page_is_taken_as_sent() -> None:
    check_page_order(Codec.OPAQUE, ["b", "a", "zzz"], after="q")


@given(iso_rowversions(), st.floats(0, 1e7))
def test_an_iso_time_less_some_seconds_is_that_much_earlier_in_the_same_notation(
    rowversion: tuple[str, Decimal], seconds: float
) -> None:
    text = rowversion[0]
    earlier = subtract_seconds(Codec.TIMESTAMP, text, seconds)
    moment, before = order_key(Codec.TIMESTAMP, text)[0], order_key(Codec.TIMESTAMP, earlier)[0]
    assert moment - before >= timedelta(seconds=seconds)
    assert moment - before <= timedelta(seconds=seconds + 63)
    assert notation(earlier) == notation(text)


@given(MOMENTS, st.integers(14, 20), st.floats(0, 1e7))
def test_digits_less_some_seconds_are_that_much_earlier_and_as_wide(
    moment: datetime, width: int, seconds: float
) -> None:
    text = moment.strftime("%Y%m%d%H%M%S%f")[:width].ljust(width, "0")
    earlier = subtract_seconds(Codec.DIGITS, text, seconds)
    assert len(earlier) == width
    parse = lambda one: datetime.strptime(one[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)  # noqa: E731
    assert parse(text) - parse(earlier) >= timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("codec", "rowversion"),
    [
        (Codec.DIGITS, "19000101000000"),
        (Codec.DIGITS, "00010101000000"),
        (Codec.TIMESTAMP, "0001-01-01T00:00:00Z"),
        (Codec.TIMESTAMP, "0999-12-31 00:00:00.000+14:00"),
        (Codec.TIMESTAMP, "0001-01-01"),
        (Codec.TIMESTAMP, "2024-01-01Z"),
    ],
)
def test_even_the_first_times_of_the_calendar_can_be_stepped_back_from(
    codec: Codec, rowversion: str
) -> None:
    earlier = subtract_seconds(codec, rowversion, 60)
    assert order_key(codec, earlier) <= order_key(codec, rowversion)
    assert notation(earlier) == notation(rowversion)


def notation(rowversion: str) -> str:
    """The rowversion with its date and time blanked out; what is left is layout and zone."""
    date, rest = rowversion[:10], rowversion[10:]
    cut = next(
        (at for at, letter in enumerate(rest) if letter in "Zz+-" or (letter == " " and at)),
        len(rest),
    )
    return "".join("0" if letter.isdigit() else letter for letter in date + rest[:cut]) + rest[cut:]


CALENDARS = {
    Codec.HTTP_DATE: "{:%a, %d %b %Y %H:%M:%S} GMT",
    Codec.CTIME: "{:%a %b %d %H:%M:%S +0000 %Y}",
    Codec.US_DATE: "{:%m/%d/%Y %H:%M:%S}",
    Codec.EU_DATE: "{:%d.%m.%Y, %I:%M:%S %p}",
}


@pytest.mark.parametrize("codec", CALENDARS)
@given(MOMENTS, MOMENTS, st.floats(0, 1e7))
def test_dates_in_calendar_notations_order_by_moment_and_step_back_in_their_notation(
    codec: Codec, first: datetime, second: datetime, seconds: float
) -> None:
    one, other = (moment.replace(microsecond=0) for moment in (first, second))
    left, right = CALENDARS[codec].format(one), CALENDARS[codec].format(other)
    assert (order_key(codec, left) < order_key(codec, right)) == (one < other)
    earlier = subtract_seconds(codec, left, seconds)
    assert CALENDARS[codec].format(order_key(codec, earlier)[0]) == earlier
    assert (
        timedelta(seconds=seconds)
        <= order_key(codec, left)[0] - order_key(codec, earlier)[0]
        <= timedelta(seconds=seconds + 3)
    )


def test_what_only_the_source_orders_must_still_stand_in_groups_behind_the_cursor() -> None:
    with pytest.raises(CursorProtocolError, match="greater than 'q'"):
        check_page_order(Codec.OPAQUE, ["b", "q"], after="q")
    with pytest.raises(UnsortedPageError):
        check_page_order(Codec.OPAQUE, ["b", "a", "b"], after="q")
