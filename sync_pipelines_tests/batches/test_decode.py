"""Pages decoded: the good records as arrays, the bad ones set aside, the fields nobody declared by name."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines_tests.batches.helpers import column, decode, entity_of, key, page_of

ENTITY = entity_of(key("id", "INTEGER"), column("v", "NUMERIC(17,3)"))


def values(page: object) -> list[list[object]]:
    return [one.to_pylist() for one in page.columns]  # type: ignore[attr-defined]


def test_a_page_without_rows_has_typed_empty_columns() -> None:
    page = decode(PageDecoder(ENTITY), 1, b'{"rows": []}')
    assert (page.fetched, page.rowversions, page.rejects) == (0, [], [])
    assert [one.type for one in page.columns] == [one.type.arrow for one in ENTITY.columns]


def test_a_number_keeps_the_digits_that_a_float_would_lose() -> None:
    page = decode(PageDecoder(ENTITY), 1, page_of(('{"id": 1, "v": 12345678901234.567}', '"1"')))
    assert page.positions is None
    assert values(page) == [[1], [Decimal("12345678901234.567")]]


def test_a_missing_field_is_null() -> None:
    page = decode(PageDecoder(ENTITY), 1, page_of(('{"id": 1}', '"1"'), ("{}", '"2"')))
    assert values(page) == [[1, None], [None, None]]


@pytest.mark.parametrize(
    "poison",
    ['{"id": "x"}', "null", '{"id": 2147483648}', '{"id": 3, "v": 0.0001}', '{"id": 3, "v": NaN}'],
)
def test_poison_among_good_records_is_set_aside_and_places_are_kept(poison: str) -> None:
    good = '{"id": 1, "v": 1}'
    page = decode(
        PageDecoder(ENTITY),
        5,
        page_of((good, '"1"'), (poison, '"2"'), (good, '"3"'), (poison, '"4"'), (good, '"5"')),
    )
    assert page.fetched == 5
    assert page.rowversions == ["1", "3", "5"]
    assert [page.position(index) for index in range(3)] == [0, 2, 4]
    assert [(reject.page, reject.position) for reject in page.rejects] == [(5, 1), (5, 3)]


def test_a_page_of_nothing_but_poison_has_typed_empty_columns() -> None:
    page = decode(PageDecoder(ENTITY), 1, page_of(("1", '"1"'), ("2", '"2"')))
    assert values(page) == [[], []]
    assert len(page.rejects) == page.fetched == 2


def test_undeclared_fields_are_named_once_and_do_not_slow_later_pages() -> None:
    decoder = PageDecoder(ENTITY)
    first = decode(decoder, 1, page_of(('{"id": 1, "new": [1], "newer": null}', '"1"')))
    second = decode(decoder, 2, page_of(('{"id": 2, "new": 1}', '"2"')))
    assert first.undeclared == {"new", "newer"}
    assert (first.positions, second.positions) == (None, None)
    assert values(second) == [[2], [None]]


def test_an_undeclared_name_is_shown_so_that_a_database_can_store_it() -> None:
    names = ['"\\u0000"', '"\\ud800"', '"\\u001b[31m"', '"' + "n" * 5000 + '"']
    data = "{" + ", ".join(['"id": 1', *[f"{name}: 1" for name in names]]) + "}"
    shown = decode(PageDecoder(ENTITY), 1, page_of((data, '"1"'))).undeclared
    assert len(shown) == 4
    assert all(name.isprintable() and len(name) <= 101 for name in shown)


@pytest.mark.parametrize(
    "name",
    [
        'a"b',
        "a\\b",
        '"; DROP TABLE x; --',
        "é",
        "a b",
        "a/b",
        "{",
        "%s",
        "data",
        "row_version",
        "c1",
    ],
)
def test_a_column_may_have_any_name(name: str) -> None:
    import json

    decoder = PageDecoder(entity_of(key("id", "INTEGER"), column(name)))
    page = decode(decoder, 1, page_of((json.dumps({"id": 1, name: "x"}), '"1"')))
    assert values(page) == [[1], ["x"]]
    assert (page.rejects, page.undeclared) == ([], set())


def test_a_name_written_with_escapes_is_the_same_name() -> None:
    page = decode(PageDecoder(ENTITY), 1, page_of(('{"\\u0069d": 1, "v": 2}', '"1"')))
    assert values(page) == [[1], [Decimal(2)]]


@pytest.mark.parametrize("literal", ["1e-400", "-1e-999", "0." + "0" * 400 + "1"])
def test_a_double_too_small_to_hold_is_refused_and_does_not_become_zero(literal: str) -> None:
    decoder = PageDecoder(entity_of(key("id", "INTEGER"), column("d", "DOUBLE")))
    page = decode(
        decoder, 1, page_of((f'{{"id": 1, "d": {literal}}}', '"1"'), ('{"id": 2, "d": 0}', '"2"'))
    )
    assert values(page) == [[2], [0.0]]
    assert "beyond what double precision holds" in page.rejects[0].reason


def test_records_of_the_last_rowversion_can_be_left_to_the_next_page() -> None:
    decoder = PageDecoder(ENTITY)
    page = decode(
        decoder,
        1,
        page_of(
            ('{"id": 1}', '"1"'),
            ('{"id": "x"}', '"1"'),
            ('{"id": 2}', '"2"'),
            ('{"id": "x"}', '"2"'),
            ('{"id": 3}', '"2"'),
        ),
    )
    assert page.drop_after("1") == 3
    assert (page.rowversions, len(page.rejects)) == (["1"], 1)
    assert values(page) == [[1], [None]]


def test_digests_tell_the_records_of_one_rowversion() -> None:
    page = decode(
        PageDecoder(ENTITY),
        1,
        page_of(('{"id": 1}', '"1"'), ('{"id": 1}', "1"), ('{"id": 2}', '"2"'), ("0", '"1"')),
    )
    assert len(page.record_digests("1")) == 3
    assert len(set(page.record_digests("1"))) == 3
    assert page.record_digests("3") == []


def test_no_record_is_cut_out_of_a_page_whose_records_all_have_a_rowversion() -> None:
    """Cutting costs more than decoding, and every full page of a read by rowversions is asked."""
    good = ('{"id": 1, "v": 1}', '"1"')
    page = decode(PageDecoder(ENTITY), 1, page_of(good, good))
    assert page.without_rowversion() == set()
    assert "raw_records" not in vars(page)
    page = decode(PageDecoder(ENTITY), 1, page_of(good, ('{"id": 2, "v": 2}', "null")))
    (text,) = page.without_rowversion()
    assert '"data": {"id": 2, "v": 2}' in text
