"""Values as a destination's client gives them, brought into the form that psycopg gives."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sync_pipelines.destinations.values import row_as_python
from sync_pipelines.model.types import parse_type

TYPES = [parse_type("numeric"), parse_type("json")]


def test_every_value_of_a_row_is_brought_into_its_type() -> None:
    assert row_as_python(["1.50", '{"a": 1}'], TYPES) == (Decimal("1.50"), {"a": 1})


@pytest.mark.parametrize("row", [["1.50"], ["1.50", "{}", "x"], []])
def test_a_row_with_another_number_of_values_is_refused_and_not_cut(row: list[str]) -> None:
    with pytest.raises(ValueError, match="zip"):
        row_as_python(row, TYPES)
