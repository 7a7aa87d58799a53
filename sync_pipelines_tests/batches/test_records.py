"""Records cut out of a page byte for byte; what is no page is never taken for an empty one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.records import (
    Reject,
    key_of,
    parse_record,
    rowversion_of,
    split_records,
)
from sync_pipelines.errors import BrokenPageError
from sync_pipelines.secrets import register_secret
from sync_pipelines_tests.batches.helpers import column, decode, entity_of, key, page_of

ENTITY = entity_of(
    key("id", "INTEGER"), column("v", "TEXT"), column("n", "NUMBER"), column("j", "JSON")
)
BLANKS = st.text(" \t\r\n", max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(st.tuples(JSON, st.booleans(), BLANKS), max_size=5), JSON, BLANKS)
def test_the_cut_records_are_the_bytes_between_the_commas(
    rows: list[tuple[object, bool, str]], other: object, blank: str
) -> None:
    texts = [json.dumps(value, ensure_ascii=is_ascii) for value, is_ascii, _ in rows]
    padded = [f"{pad}{text}{pad}" for text, (_, _, pad) in zip(texts, rows, strict=True)]
    beside = json.dumps(other)
    rows_member = f'"rows"{blank}:[{blank}{",".join(padded)}]'
    page = f'{blank}{{"before":{beside},{blank}{rows_member},"after":{beside}}}{blank}'
    assert split_records(page.encode("utf-8", "surrogatepass")) == [
        text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape") for text in texts
    ]


@given(st.lists(st.binary(max_size=6), max_size=4))
def test_bytes_that_are_not_utf8_survive_in_the_record(values: list[bytes]) -> None:
    safe = [value.translate(None, bytes(range(32)) + b'"\\') for value in values]
    body = b'{"rows":[' + b",".join(b'{"data":{"v":"' + value + b'"}}' for value in safe) + b"]}"
    cut = [raw.encode("utf-8", "surrogateescape") for raw in split_records(body)]
    assert cut == [b'{"data":{"v":"' + value + b'"}}' for value in safe]


def test_a_page_cut_at_any_byte_is_broken_and_never_empty() -> None:
    body = page_of(
        ('{"id": 1, "v": "a\\u00e9😀", "n": 1.5, "j": {"a": [1, "]}"]}}', '"1"'), ('{"id": 2}', "2")
    )
    decoder = PageDecoder(ENTITY)
    assert decode(decoder, 1, body).fetched == 2
    for length in range(len(body)):
        with pytest.raises(BrokenPageError):
            decode(decoder, 1, body[:length])
        with pytest.raises(BrokenPageError):
            split_records(body[:length])


def test_an_empty_page_cut_at_any_byte_is_broken_too() -> None:
    body = b' {"rows": [ ], "total": 0} '
    assert split_records(body) == []
    for length in range(len(body.rstrip())):
        with pytest.raises(BrokenPageError):
            decode(PageDecoder(ENTITY), 1, body[:length])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"null",
        b"[]",
        b"{}",
        b'"rows"',
        b'{"rows": null}',
        b'{"rows": {}}',
        b'{"rows": "[]"}',
        b'{"data": []}',
        b'{"Rows": []}',
        b'{"error": {"rows": []}}',
        b"<html><body>rows: []</body></html>",
        b"\xef\xbb\xbf{}",
        b'{"rows": []} {"rows": []}',
        b'{"rows": []}]',
        b'{"rows": [1 2]}',
        b'{"rows": [,]}',
        b'{"rows" []}',
        b"\xff\xfe",
        b'{"rows":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    ],
)
def test_what_is_no_page_is_broken_and_never_zero_rows(body: bytes) -> None:
    with pytest.raises(BrokenPageError):
        decode(PageDecoder(ENTITY), 1, body)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_page_or_a_broken_page(body: bytes) -> None:
    try:
        decode(PageDecoder(ENTITY), 1, body)
    except BrokenPageError as error:
        assert error.what.isprintable()


def test_the_message_shows_the_beginning_redacted_and_short() -> None:
    register_secret("s3cr3t-" + "x" * 700)
    body = b"<html>\n\x1b[31mBearer abcdefghijk " + b"s3cr3t-" + b"x" * 700 + b" " + b"z" * 5000
    with pytest.raises(BrokenPageError) as caught:
        split_records(body)
    assert "it begins: <html>" in caught.value.what
    assert "abcdefghijk" not in caught.value.what
    assert "s3cr3t" not in caught.value.what
    assert len(caught.value.what) < 350
    assert caught.value.what.isprintable()


@pytest.mark.parametrize(
    ("record", "column_name", "reason"),
    [
        ('{"data": {"id": 1, "n": NaN}, "row_version": "7"}', "n", "NaN is not a JSON value"),
        (
            '{"data": {"id": 1, "n": 1e99999999999999999999}, "row_version": "7"}',
            "n",
            "is not a JSON value",
        ),
        ('{"data": {"id": 1, "v": "a\\ud800"}, "row_version": "7"}', "v", "lone surrogate"),
        ('{"data": {"id": 1, "v": "a\\u0000"}, "row_version": "7"}', "v", "NUL"),
        ('{"data": {"id": 1, "j": {"a": NaN}}, "row_version": "7"}', "j", "NaN, which is not JSON"),
        (
            '{"data": {"id": 1, "j": ' + "[" * 101 + "]" * 101 + '}, "row_version": "7"}',
            "j",
            "deeper than 100",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_column_and_keeps_key_and_rowversion(
    record: str, column_name: str, reason: str
) -> None:
    outcome = parse_record(record, ENTITY, 3, 4).outcome
    assert isinstance(outcome, Reject)
    assert (outcome.page, outcome.position, outcome.column) == (3, 4, column_name)
    assert reason in outcome.reason
    assert outcome.record == record.encode()
    assert (outcome.business_key, outcome.rowversion) == (("1",), "7")


@pytest.mark.parametrize(
    "record",
    [
        "1",
        "null",
        "[]",
        '"x"',
        "{}",
        '{"data": null}',
        '{"data": []}',
        '{"data": "x", "row_version": "1"}',
    ],
)
def test_what_has_no_data_is_refused(record: str) -> None:
    outcome = parse_record(record, ENTITY, 1, 0).outcome
    assert isinstance(outcome, Reject)
    assert (outcome.column, outcome.business_key) == (None, None)
    assert "not an object" in outcome.reason


@pytest.mark.parametrize(
    "version",
    [
        "1.5",
        "true",
        "[]",
        "{}",
        '""',
        '"a\\nb"',
        '"a\\u0000"',
        '"\\ud800"',
        '"' + "9" * 1001 + '"',
        "9" * 5000,
    ],
)
def test_a_rowversion_that_cannot_be_a_cursor_is_refused(version: str) -> None:
    raw = f'{{"data": {{"id": 1}}, "row_version": {version}}}'
    outcome = parse_record(raw, ENTITY, 1, 0).outcome
    assert isinstance(outcome, Reject)
    assert (outcome.column, outcome.rowversion) == ("row_version", None)
    assert rowversion_of(raw) is None


@pytest.mark.parametrize(
    ("version", "text"), [('"7"', "7"), ("7", "7"), ("-7", "-7"), ("null", None), ('" 7"', " 7")]
)
def test_a_rowversion_is_a_text_or_a_whole_number_or_null(version: str, text: str | None) -> None:
    raw = f'{{"data": {{"id": 1}}, "row_version": {version}}}'
    assert parse_record(raw, ENTITY, 1, 0).rowversion == text
    assert rowversion_of(raw) == text


def test_of_equal_names_the_last_counts_in_both_paths() -> None:
    data = '{"id": 1, "v": "old", "j": [1], "n": 1, "v": "new", "j": [2], "n": 2}'
    decoder = PageDecoder(ENTITY)
    for page in (
        decode(decoder, 1, page_of((data, '"1"'))),
        decoder._decode_slow(1, page_of((data, '"1"'))),
    ):
        assert [one[0].as_py() for one in page.columns] == [1, "new", "2", "[2]"]


def test_a_raw_line_end_in_a_text_spoils_only_its_own_record() -> None:
    page = decode(
        PageDecoder(ENTITY),
        1,
        page_of(('{"id": 1, "v": "a\nb"}', '"1"'), ('{"id": 2, "v": "c"}', '"2"')),
    )
    assert page.rowversions == ["2"]
    assert [(reject.position, reject.reason) for reject in page.rejects] == [
        (0, "The record is not JSON: Invalid control character at.")
    ]


def test_a_key_is_named_only_when_all_of_it_is_good() -> None:
    entity = entity_of(key("a", "INTEGER"), key("b"))
    assert key_of('{"data": {"a": 1.0, "b": "x"}}', entity) == ("1", "x")
    for data in (
        '{"a": 1}',
        '{"a": null, "b": "x"}',
        '{"a": "x", "b": "x"}',
        '{"a": 1, "b": "\\u0000"}',
        "[]",
    ):
        assert key_of(f'{{"data": {data}}}', entity) is None
    assert key_of("nonsense", entity) is None
