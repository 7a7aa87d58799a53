"""JSON counts by its value: texts that mean the same share a spelling, texts that do not never do."""

from __future__ import annotations

import json
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.batches.canonical import canonical_text, canonical_texts
from sync_pipelines.batches.hashing import content_hashes

NUMBERS = st.decimals(
    allow_nan=False, allow_infinity=False, places=None, min_value=-(10**30), max_value=10**30
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | NUMBERS
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab\u00e9", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


def spelled(value: object, *, other: bool) -> str:
    """A value as JSON; the other way with keys turned round, blanks, escapes and longer numbers."""
    if isinstance(value, dict):
        members = list(value.items())[::-1] if other else list(value.items())
        blank = " " if other else ""
        return (
            "{"
            + ",".join(
                f"{blank}{json.dumps(name, ensure_ascii=other)}:{spelled(one, other=other)}"
                for name, one in members
            )
            + "}"
        )
    if isinstance(value, list):
        return (
            "[" + ("\n," if other else ",").join(spelled(one, other=other) for one in value) + "]"
        )
    if isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
        return f"{Decimal(value):E}" if other else f"{Decimal(value):f}"
    return json.dumps(value, ensure_ascii=other)


@given(VALUES)
def test_every_way_to_write_a_value_has_the_same_spelling(value: object) -> None:
    assert canonical_text(spelled(value, other=False)) == canonical_text(spelled(value, other=True))


@given(VALUES, VALUES)
def test_only_equal_values_share_a_spelling(left: object, right: object) -> None:
    def typed(value: object) -> object:
        if isinstance(value, dict):
            return "object", {name: typed(one) for name, one in value.items()}
        if isinstance(value, list):
            return "list", [typed(one) for one in value]
        return "number" if isinstance(value, int | Decimal) and not isinstance(
            value, bool
        ) else type(value), value

    texts = [canonical_text(spelled(value, other=False)) for value in (left, right)]
    assert (texts[0] == texts[1]) == (typed(left) == typed(right))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ('{"a": 1, "b": [1, 2]}', '{"b":[1,2],"a":1}'),
        ("1.10", "1.1"),
        ("1e2", "100"),
        ("-0.0", "0"),
        ("1e23", "1" + "0" * 23),
        ("1e1000", "10e999"),
        ('{"a":1,"a":2}', '{"a":2}'),
        ('"\\u0041\\/"', '"A/"'),
        ("123456789012345678.50", "1.234567890123456785e17"),
    ],
)
def test_what_postgresql_calls_equal_is_equal(left: str, right: str) -> None:
    assert canonical_text(left) == canonical_text(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("[1,2]", "[2,1]"),
        ("1", '"1"'),
        ("null", "[]"),
        ("0.1", "0.1000000000000000055511151231257827"),
        ("12345678901234567890", "12345678901234567891"),
        ('{"a":null}', "{}"),
    ],
)
def test_what_differs_by_value_stays_different(left: str, right: str) -> None:
    assert canonical_text(left) != canonical_text(right)


def test_only_json_columns_are_hashed_by_value() -> None:
    texts = [pa.array(['{"a":1}', None, '{"a":1}']), pa.array(['{ "a" : 1.0 }', None, '{"a":2}'])]
    left, right = (content_hashes([text], json_places={0}).to_pylist() for text in texts)
    assert [one == other for one, other in zip(left, right, strict=True)] == [True, True, False]
    assert content_hashes([texts[0]])[0] != content_hashes([texts[1]])[0]


def test_nulls_and_repeated_texts_keep_their_places() -> None:
    assert canonical_texts(pa.array(["1.0", None, "1.0", "[ ]"])).to_pylist() == [
        "1",
        None,
        "1",
        "[]",
    ]
