"""Names from outside: what may become a slug, a table, a column or an asset."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import EntityDefinitionError, SettingsError
from sync_pipelines.model.names import (
    MAX_IDENTIFIER_BYTES,
    asset_name_for,
    check_column_names,
    check_connector_name,
    check_slug,
    shorten_identifier,
    table_name_for,
)

HOSTILE_SLUGS = [
    "",
    ".",
    "..",
    "../../etc",
    "a/../b",
    "a..b",
    ".hidden",
    "-rf",
    "_bridge",
    "items\n",
    "items\r",
    "items\x00",
    "items ",
    " items",
    "items/all",
    "items?x=1",
    "items#x",
    "items%2e%2e",
    "é",
    "ｉtems",
    "item\u200bs",
    "items\u202e",
    "x" * 101,
    "x" * 5000,
    "'; DROP TABLE items; --",
]


@pytest.mark.parametrize("slug", ["items", "Items-2", "a.b_c-d", "0", "nul", "x" * 100])
def test_a_plain_slug_passes_as_it_is(slug: str) -> None:
    assert check_slug(slug) == slug


@pytest.mark.parametrize("slug", HOSTILE_SLUGS)
def test_a_slug_with_tricks_is_refused(slug: str) -> None:
    with pytest.raises(EntityDefinitionError):
        check_slug(slug)


@given(st.text(max_size=120))
def test_an_accepted_slug_is_harmless_in_a_url_and_in_a_file_name(slug: str) -> None:
    try:
        check_slug(slug)
    except EntityDefinitionError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", slug, re.ASCII)
    assert ".." not in slug


@pytest.mark.parametrize(
    "name", ["erp\n", "Erp", "1erp", "_erp", "erp-2", "", "e" * 64, "é", "erp "]
)
def test_a_connector_name_that_cannot_be_a_schema_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        check_connector_name(name)


@given(
    st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=200), st.integers(20, 63)
)
def test_a_shortened_identifier_fits_and_a_short_one_is_untouched(name: str, limit: int) -> None:
    short = shorten_identifier(name, limit)
    assert len(short.encode()) <= limit
    if len(name.encode()) <= limit:
        assert short == name


def test_long_names_that_differ_at_the_end_stay_different() -> None:
    names = {shorten_identifier("x" * 200 + str(number)) for number in range(1000)}
    assert len(names) == 1000


def test_a_multi_byte_letter_is_never_cut_in_half() -> None:
    for padding in range(4):
        name = shorten_identifier("x" * padding + "😀" * 50)
        assert len(name.encode()) <= MAX_IDENTIFIER_BYTES
        assert "\ufffd" not in name


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Name", "name"),
        ("NAME", "name"),
        ("é", unicodedata.normalize("NFD", "é")),
        ("Straße", "STRASSE"),
        ("İd", unicodedata.normalize("NFD", "İd")),
        ("a", "a"),
    ],
)
def test_columns_that_a_reader_takes_for_one_are_refused(first: str, second: str) -> None:
    with pytest.raises(EntityDefinitionError, match="one of them would be lost"):
        check_column_names([first, "other", second])


@pytest.mark.parametrize(
    "name",
    [
        "_bridge_id",
        "_BRIDGE_HASH",
        "_Bridge_anything",
        "",
        "   ",
        "a\x00b",
        "a\nb",
        "a\x1bb",
        "a\ud800",
    ],
)
def test_reserved_empty_and_control_names_are_refused(name: str) -> None:
    with pytest.raises(EntityDefinitionError):
        check_column_names(["id", name])


@pytest.mark.parametrize(
    "name", ['"; DROP TABLE x; --', "select", "table", "a b", "%s", "{0}", "x" * 200, "c0", "é"]
)
def test_names_that_only_need_quoting_pass(name: str) -> None:
    check_column_names(["id", name])


@pytest.mark.parametrize(
    ("slug", "table"), [("Items-2.old", "items_2_old"), ("A", "a"), ("nul", "nul")]
)
def test_a_table_is_named_like_its_slug(slug: str, table: str) -> None:
    assert table_name_for(slug) == table


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", fullmatch=True))
def test_derived_names_fit_where_they_go(slug: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_]+", asset_name_for(slug))
    assert len(table_name_for(slug).encode()) <= 63
