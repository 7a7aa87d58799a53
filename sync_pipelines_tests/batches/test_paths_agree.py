"""Both decoding paths give the same values: the fast one for whole columns, the exact one record by record."""

from __future__ import annotations

from decimal import Decimal
from functools import cache

import msgspec
import pyarrow as pa
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from sync_pipelines.batches.arrays import NotExactError, from_canonical, python_type, to_array
from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.hashing import content_hashes
from sync_pipelines.batches.records import _decoder
from sync_pipelines.batches.values import convert
from sync_pipelines.errors import BrokenPageError, RecordError
from sync_pipelines.model.types import ColumnType, Kind, parse_type
from sync_pipelines_tests.batches.cases import (
    LITERALS,
    PLAIN,
    TYPES,
    likely_literals,
    plain_literals,
)
from sync_pipelines_tests.batches.helpers import column, decode, entity_of, key, page_of


@cache
def fast_decoder(column_type: ColumnType, is_hexadecimal: bool) -> msgspec.json.Decoder:
    return msgspec.json.Decoder(list[python_type(column_type)])


def fast(literals: list[str], column_type: ColumnType) -> pa.Array | None:
    try:
        values = fast_decoder(column_type, column_type.hexadecimal).decode(
            f"[{','.join(literals)}]"
        )
        return to_array(values, column_type)
    except (msgspec.MsgspecError, NotExactError, UnicodeDecodeError, RecursionError):
        return None


def exact(literals: list[str], column_type: ColumnType) -> pa.Array:
    values = [
        literal if column_type.kind is Kind.JSON and literal != "null" else _decoder.decode(literal)
        for literal in literals
    ]
    return from_canonical([convert(value, column_type) for value in values], column_type)


@pytest.mark.parametrize("column_type", TYPES, ids=str)
def test_the_fast_path_takes_plain_values_and_nulls(column_type: ColumnType) -> None:
    literals = [PLAIN[column_type.kind][0], "null"]
    taken = fast(literals, column_type)
    if (
        column_type.kind is Kind.BYTES
        and not column_type.hexadecimal
        or column_type.precision == 50
    ):
        assert taken is None
    else:
        assert taken is not None
        assert taken.equals(exact(literals, column_type))
    assert exact(literals, column_type).null_count == 1


@pytest.mark.parametrize("column_type", TYPES, ids=str)
@given(data=st.data())
def test_what_the_fast_path_takes_the_exact_path_takes_as_the_same(
    column_type: ColumnType, data: st.DataObject
) -> None:
    one = st.one_of(plain_literals(column_type), likely_literals(column_type), LITERALS)
    literals = data.draw(st.lists(one, min_size=1, max_size=2))
    # The page decoder never shows these to the fast path.
    if any("\\u0000" in literal or "\\ud" in literal or "e-400" in literal for literal in literals):
        return
    taken = fast(literals, column_type)
    event("taken" if taken is not None else "left to the exact path")
    if taken is not None:
        same = exact(literals, column_type)
        assert same.type == taken.type == column_type.arrow
        assert same.equals(taken), (same, taken)
        assert content_hashes([same]).equals(content_hashes([taken]))


@pytest.mark.parametrize("column_type", TYPES, ids=str)
@given(data=st.data())
def test_any_value_is_converted_or_refused_and_never_breaks_the_read(
    column_type: ColumnType, data: st.DataObject
) -> None:
    literal = data.draw(LITERALS | likely_literals(column_type))
    try:
        array = exact([literal], column_type)
    except RecordError as error:
        assert error.what.isprintable()
        assert len(error.what) < 200
    else:
        assert len(array) == 1
        assert array.type == column_type.arrow


@pytest.mark.parametrize("literal", ["0e99999999999999999999", "-0.0E-99999999999999999999"])
def test_zero_is_zero_whatever_its_exponent(literal: str) -> None:
    double = parse_type("DOUBLE")
    taken = fast([literal], double)
    assert taken is not None
    assert exact([literal], double).equals(taken)


@given(
    st.integers(1, 60),
    st.integers(0, 60),
    st.sampled_from(["10,3", "38,0", "38,10", "38,38", "5,5"]),
    st.data(),
)
def test_arrow_never_gets_a_number_of_more_digits_than_it_holds(
    whole: int, fraction: int, declared: str, data: st.DataObject
) -> None:
    digits = data.draw(st.text("0123456789", min_size=whole + fraction, max_size=whole + fraction))
    literal = (digits[:whole].lstrip("0") or "0") + ("." + digits[whole:] if fraction else "")
    column_type = parse_type(f"NUMERIC({declared})")
    taken = fast([literal], column_type)
    if taken is not None:
        assert taken[0].as_py() == Decimal(literal)
        assert exact([literal], column_type).equals(taken)


DECLARED = [
    "TEXT",
    "NUMBER",
    "NUMERIC(10,3)",
    "BIGINT",
    "DOUBLE",
    "TIMESTAMPTZ",
    "TIME",
    "JSON",
    "RAW(4)",
]
ENTITY = entity_of(
    key("id", "INTEGER"),
    *[column(f"v{place}", declared) for place, declared in enumerate(DECLARED)],
)
VALUE_TYPES = [one.type for one in ENTITY.columns[1:]]
ROWS = st.tuples(
    st.one_of(
        st.tuples(*[plain_literals(one) for one in VALUE_TYPES]),
        st.tuples(*[plain_literals(one) for one in VALUE_TYPES]),
        st.tuples(*[likely_literals(one) for one in VALUE_TYPES]),
        st.tuples(*[plain_literals(one) | LITERALS for one in VALUE_TYPES]),
    ),
    st.sampled_from(
        ['"5"', "5", "null", '"6"', '""', '"a\\tb"', "5.0", "true", '"' + "9" * 1001 + '"', "-0"]
    ),
    st.booleans(),
)


@given(st.lists(ROWS, max_size=3))
def test_a_page_is_the_same_whichever_path_decodes_it(
    rows: list[tuple[tuple[str, ...], str, bool]],
) -> None:
    body = page_of(
        *[
            (
                "{"
                + ", ".join(
                    [
                        f'"id": {number}',
                        *(f'"v{place}": {literal}' for place, literal in enumerate(literals)),
                    ]
                )
                + (', "extra": 1}' if has_extra else "}"),
                rowversion,
            )
            for number, (literals, rowversion, has_extra) in enumerate(rows)
        ]
    )
    decoder = PageDecoder(ENTITY)
    try:
        slow = decoder._decode_slow(1, body)
    except BrokenPageError:
        with pytest.raises(BrokenPageError):
            decode(decoder, 1, body)
        return
    page = decode(decoder, 1, body)
    event(f"fast {page.positions is None}, {len(rows)} rows")
    assert page.fetched == slow.fetched == len(rows)
    assert len(page.rowversions) + len(page.rejects) == page.fetched
    assert page.rowversions == slow.rowversions
    assert page.rejects == slow.rejects
    assert page.undeclared == slow.undeclared
    assert all(left.equals(right) for left, right in zip(page.columns, slow.columns, strict=True))
    assert content_hashes(page.columns).equals(content_hashes(slow.columns))


@given(st.lists(st.tuples(st.lists(ROWS, max_size=3), st.booleans()), min_size=1, max_size=4))
def test_pages_settled_together_are_what_each_is_by_itself(
    pages: list[tuple[list[tuple[tuple[str, ...], str, bool]], bool]],
) -> None:
    bodies = [
        page_of(
            *[
                (
                    "{"
                    + ", ".join(
                        [
                            f'"id": {number}',
                            *(f'"v{place}": {one}' for place, one in enumerate(literals)),
                        ]
                    )
                    + "}",
                    version,
                )
                for number, (literals, version, _) in enumerate(rows)
            ]
        )
        for rows, _ in pages
    ]
    decoder, alone = PageDecoder(ENTITY), []
    try:
        alone = [decoder._decode_slow(1, body) for body in bodies]
        together = [decoder.decode(1, body) for body in bodies]
        for slow, fast_page, (_, is_cut) in zip(alone, together, pages, strict=True):
            known = [rowversion for rowversion in fast_page.rowversions if rowversion is not None]
            if is_cut and known and None not in fast_page.rowversions:
                assert slow.drop_after(known[0]) == fast_page.drop_after(known[0])
        decoder.settle(together)
    except BrokenPageError:
        event("no page")
        return
    assert [page.rowversions for page in together] == [page.rowversions for page in alone]
    assert [page.rejects for page in together] == [page.rejects for page in alone]
    for index in range(len(ENTITY.columns)):
        joined = [
            pa.concat_arrays([page.columns[index] for page in some]) for some in (together, alone)
        ]
        assert joined[0].equals(joined[1])
