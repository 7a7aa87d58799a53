from datetime import UTC, datetime

import pytest

from sync_pipelines.demo.twin import (
    HexRowversions,
    IntegerRowversions,
    IsoRowversions,
    TimestampRowversions,
)

NOON = datetime(2025, 12, 8, 12, tzinfo=UTC)


def test_timestamp_is_fourteen_digits():
    assert TimestampRowversions(clock=lambda: NOON)() == "20251208120000"
    assert len(TimestampRowversions()()) == 14


def test_iso_has_microseconds_and_zone():
    assert IsoRowversions(clock=lambda: NOON)() == "2025-12-08T12:00:00.000000+00:00"


def test_integers_grow_in_width_or_keep_it():
    growing, fixed = IntegerRowversions(9), IntegerRowversions(9, width=4)
    assert [growing(), growing()] == ["9", "10"]
    assert [fixed(), fixed()] == ["0009", "0010"]


def test_burst_shares_one_value():
    burst = IntegerRowversions(1, burst=3)
    assert [burst() for _ in range(7)] == ["1", "1", "1", "2", "2", "2", "3"]
    with pytest.raises(ValueError, match="burst"):
        IntegerRowversions(1, burst=0)


def test_hex_is_fixed_width():
    versions = HexRowversions(start=0xFF)
    assert [versions(), versions()] == ["00000000000000ff", "0000000000000100"]
