"""What a person allows where a value does not fit: cut toward zero, or null; never without a word."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from sync_pipelines.batches.coercion import coerce, hide, names_in, note
from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.errors import RecordError
from sync_pipelines.model.entity import Column, DeltaStrategy, Entity
from sync_pipelines.model.types import parse_type


@pytest.mark.parametrize(
    ("declared", "value", "expected"),
    [
        ("TIMESTAMPTZ", "2024-05-01T12:34:56.1234567Z", "2024-05-01 12:34:56.123456"),
        ("TIMESTAMPTZ", "2024-05-01T12:34:56,9999999+02:00", "2024-05-01 10:34:56.999999"),
        ("TIMESTAMP(0)", "2024-05-01T12:34:56.9Z", "2024-05-01 12:34:56.000000"),
        ("TIMESTAMP(3)", "2024-05-01 12:34:56.123456789", "2024-05-01 12:34:56.123000"),
        ("TIME(0)", "12:34:56.5", "12:34:56"),
        ("DATE", "2024-05-01T12:34:56.1234567Z", "2024-05-01"),
        ("NUMERIC(5,2)", Decimal("1.239"), "1.23"),
        ("NUMERIC(5,2)", "-1.239", "-1.23"),
        ("INTEGER", Decimal("-5.9"), "-5"),
        ("VARCHAR(3)", "abcd", "abc"),
        ("RAW(2)", "AABBCC", "\\xaabb"),
    ],
)
def test_truncate_cuts_what_is_finer_or_longer(declared: str, value: Any, expected: str) -> None:
    assert coerce(value, parse_type(declared), "truncate") == (expected, True)


@pytest.mark.parametrize(
    ("declared", "value"),
    [("INTEGER", "abc"), ("NUMERIC(5,2)", Decimal(12345)), ("BOOLEAN", "yes"), ("DATE", "soon")],
)
def test_truncate_does_not_help_what_is_something_else_and_lenient_makes_null_of_it(
    declared: str, value: Any
) -> None:
    with pytest.raises(RecordError):
        coerce(value, parse_type(declared), "truncate")
    assert coerce(value, parse_type(declared), "truncate lenient") == (None, True)


@pytest.mark.parametrize("words", ["truncate", "lenient", "truncate lenient"])
def test_a_value_that_fits_is_not_touched(words: str) -> None:
    assert coerce("2024-05-01T12:34:56.123456000Z", parse_type("TIMESTAMPTZ"), words) == (
        "2024-05-01 12:34:56.123456",
        False,
    )
    assert coerce(None, parse_type("INTEGER"), words) == (None, False)


def test_a_note_keeps_what_was_sent_and_hides_what_is_masked() -> None:
    noted = note({"at": "2024-05-01T12:34:56.1234567Z", "name": "Ada"})
    assert json.loads(str(hide(noted, frozenset({"name"})))) == {
        "at": "2024-05-01T12:34:56.1234567Z",
        "name": "***",
    }
    assert hide(noted, frozenset({"other"})) == noted
    assert hide(None, frozenset({"name"})) is None


COLUMNS = (
    Column("id", "BIGINT", False, True),
    Column("at", "TIMESTAMPTZ", coerce="truncate"),
    Column("amount", "NUMERIC(5,2)", coerce="truncate lenient"),
    Column("name", "VARCHAR(3)", coerce="truncate"),
)
ENTITY = Entity(None, "shop", "users", "Users", "", DeltaStrategy.FULL, COLUMNS, "shop", "users")


def page(*records: dict[str, Any]) -> bytes:
    return json.dumps({"rows": [{"data": record} for record in records]}).encode()


def decoded(body: bytes, entity: Entity = ENTITY) -> Any:
    result = PageDecoder(entity).decode(1, body)
    PageDecoder(entity).settle([result])
    return result


def test_both_paths_of_decoding_give_the_same_rows_and_the_same_notes() -> None:
    good = [
        {"id": n, "at": f"2024-05-01T12:34:5{n}.123456{n}Z", "amount": 1.25, "name": "abc"}
        for n in range(5)
    ]
    fast = decoded(page(*good))
    slow = decoded(
        page(*good, {"id": 9, "at": "2024-05-01T12:34:56Z", "amount": "x", "name": "abcd"})
    )
    assert fast.records is None and fast.positions is None, "the fast path took it"
    for index in range(len(COLUMNS) + 1):
        assert fast.columns[index].to_pylist() == slow.columns[index].to_pylist()[:5]
    notes = [None if text is None else json.loads(text) for text in slow.columns[-1].to_pylist()]
    assert notes[0] is None, "a zero at the end is nothing lost"
    assert notes[1] == {"at": "2024-05-01T12:34:51.1234561Z"}
    assert notes[5] == {"amount": "x", "name": "abcd"}
    assert slow.rejects == []


def test_without_a_word_nothing_is_cut() -> None:
    exact = replace(ENTITY, columns=tuple(replace(column, coerce="") for column in COLUMNS))
    result = decoded(page({"id": 1, "at": "2024-05-01T12:34:56.1234567Z"}), exact)
    assert (len(result.rejects), len(result.columns)) == (1, len(COLUMNS))


@pytest.mark.parametrize(
    "sent",
    [
        b'["\xff"]',
        b"1" * 6000,
        b"[" * 300 + b"]" * 300,
        b"NaN",
        b"1e400000",
        b'"\\ud800"',
        b'"\\u0000"',
        b'{"a\xff": "\\ud800"}',
        b"[1.10, 2]",
    ],
)
def test_whatever_was_sent_is_noted_in_letters_that_every_database_keeps(sent: bytes) -> None:
    columns = (
        Column("id", "BIGINT", False, True),
        Column("amount", "INTEGER", coerce="lenient"),
        Column("b", "INTEGER", coerce="lenient"),
    )
    decoder = PageDecoder(
        Entity(uuid4(), "erp", "items", "Items", "", DeltaStrategy.FULL, columns, "erp", "items")
    )
    page = decoder.decode(1, b'{"rows":[{"data":{"id":1,"amount":' + sent + b',"b":"x"}}]}')
    decoder.settle([page])
    noted = page.columns[-1][0].as_py()
    assert names_in(noted) == ["amount", "b"]
    assert noted.encode().isascii()
    shown = sent.decode("ascii", "surrogateescape").encode("ascii", "backslashreplace").decode()
    assert (
        hide(noted, frozenset({"b"}))
        == f'{{"amount": {shown if sent != b"NaN" else chr(34) + "NaN" + chr(34)}, "b": "***"}}'
    )
