"""Descriptions of a source: one bad one spoils only its own entity, and nothing is guessed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import EntityDefinitionError, UnknownTypeError
from sync_pipelines.model.entity import Connector, DeltaStrategy, Entity
from sync_pipelines.settings import Settings
from sync_pipelines.sources.descriptions import parse_apis

CONNECTOR = Connector(uuid4(), "erp", "http://localhost", None, "erp")
SETTINGS = Settings(_env_file=None, default_sync_interval_seconds=77, default_lookback_seconds=5)
ID = {"name": "id", "data_type": "INTEGER", "is_nullable": False, "is_business_key": True}


def api(slug: str = "items", **changes: Any) -> dict[str, Any]:
    return {
        "slug": slug,
        "name": "Items",
        "columns": [ID, {"name": "v", "data_type": "TEXT"}],
        **changes,
    }


def parse(*raw: Any) -> tuple[dict[str, Entity], dict[str, Any]]:
    return parse_apis(raw, CONNECTOR, SETTINGS)


def test_a_full_description_becomes_an_entity() -> None:
    described = api(
        description="Master data",
        business_key_columns=["id"],
        delta_strategy="RowVersion",
        rowversion_codec="HEX",
    )
    entities, errors = parse(described | {"unknown_field": 1})
    assert errors == {}
    entity = entities["items"]
    assert (entity.api_name, entity.description, entity.connector) == (
        "Items",
        "Master data",
        "erp",
    )
    assert (entity.delta_strategy, entity.position.cursor_codec) == (
        DeltaStrategy.ROWVERSION,
        "hex",
    )
    assert (entity.table, entity.policy.sync_interval_seconds, entity.policy.lookback_seconds) == (
        "erp.items",
        77,
        5,
    )
    assert [column.name for column in entity.business_keys] == ["id"]


def test_what_is_left_out_has_its_default() -> None:
    entities, _ = parse({"slug": "a", "columns": [ID]})
    assert entities["a"].api_name == "a"
    assert entities["a"].delta_strategy is DeltaStrategy.FULL
    assert entities["a"].position.cursor_codec is None


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no columns", {"columns": []}, "no columns"),
    ("columns missing", {"columns": None}, "columns"),
    ("column without a type", {"columns": [ID, {"name": "v"}]}, "data_type"),
    ("unknown type", {"columns": [ID, {"name": "v", "data_type": "XMLTYPE"}]}, "XMLTYPE"),
    ("no key", {"columns": [ID | {"is_business_key": False}]}, "no business key"),
    (
        "key is no column",
        {"business_key_columns": ["code"]},
        "'code', which is not among the columns",
    ),
    ("key flags disagree", {"business_key_columns": ["v"]}, "flags say"),
    (
        "JSON key",
        {"columns": [ID, {"name": "j", "data_type": "JSON", "is_business_key": True}]},
        "no canonical form",
    ),
    (
        "1701 columns",
        {"columns": [ID, *[{"name": f"c{n}", "data_type": "TEXT"} for n in range(1700)]]},
        "1701 columns",
    ),
    ("names collide", {"columns": [ID, {"name": "Id", "data_type": "TEXT"}]}, "same name"),
    ("reserved name", {"columns": [ID, {"name": "_bridge_id", "data_type": "TEXT"}]}, "reserved"),
    (
        "control character",
        {"columns": [ID, {"name": "a\nb", "data_type": "TEXT"}]},
        "control characters",
    ),
    ("huge name", {"columns": [ID, {"name": "x" * 5000, "data_type": "TEXT"}]}, "columns.1.name"),
    ("strategy", {"delta_strategy": "magic\x1b"}, "delta strategy"),
    ("codec", {"rowversion_codec": "roman"}, "rowversion codec"),
    ("flag as text", {"columns": [ID | {"is_nullable": "no"}]}, "is_nullable"),
    ("flag as number", {"columns": [ID | {"is_business_key": 1}]}, "is_business_key"),
    ("name as number", {"name": 7}, "name"),
    ("columns as object", {"columns": {"id": "INTEGER"}}, "columns"),
]


@pytest.mark.parametrize(
    ("changes", "reason"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
def test_a_bad_description_spoils_only_its_own_entity(changes: dict[str, Any], reason: str) -> None:
    entities, errors = parse(api("good"), api("bad", **changes), api("also_good"))
    assert set(entities) == {"good", "also_good"}
    assert reason in errors["bad"].what
    assert errors["bad"].what.isprintable()
    assert errors["bad"].where == {"connector": "erp", "entity": "bad"}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        1,
        "items",
        [],
        {},
        {"slug": 5},
        {"slug": None, "columns": [ID]},
        {"slug": ""},
        {"columns": [ID]},
    ],
)
def test_what_has_no_slug_is_named_by_its_place(raw: Any) -> None:
    entities, errors = parse(api("good"), raw)
    assert set(entities) == {"good"}
    assert list(errors) == ["#2"]


@pytest.mark.parametrize(
    "slug", ["../../etc", "a/b", "items\n", "x" * 5000, "é", "\x1b[31m", "a\x00b", "_bridge", "."]
)
def test_a_hostile_slug_is_refused_and_shown_in_printable_letters(slug: str) -> None:
    entities, errors = parse(api("good"), api(slug))
    assert set(entities) == {"good"}
    (label,) = errors
    assert label.isprintable()
    assert len(label) <= 101
    assert isinstance(errors[label], EntityDefinitionError)


@pytest.mark.parametrize(
    ("first", "second"), [("a-b", "a.b"), ("a-b", "a_b"), ("Items", "items"), ("items", "items")]
)
def test_slugs_that_would_share_a_table_are_both_left_out_and_both_reported(
    first: str, second: str
) -> None:
    for one, other in ((first, second), (second, first)):
        entities, errors = parse(api("good"), api(one), api(other))
        assert set(entities) == {"good"}
        assert set(errors) == {one, other}


def test_slugs_that_end_like_our_staging_tables_do_not_get_in_the_way() -> None:
    slugs = ["items", "items__rejects", "items__records", "items__rejects__records"]
    entities, errors = parse(*[api(slug) for slug in slugs])
    assert errors == {}
    staged = [
        name
        for entity in entities.values()
        for name in (entity.records_table, entity.rejects_table)
    ]
    assert len(set(staged)) == 2 * len(slugs)


def test_three_that_share_a_table_are_all_left_out() -> None:
    entities, errors = parse(api("a-b"), api("a.b"), api("a_b"))
    assert entities == {}
    assert set(errors) == {"a-b", "a.b", "a_b"}


def test_long_slugs_that_begin_alike_get_tables_of_their_own() -> None:
    entities, errors = parse(*[api("x" * 90 + str(number)) for number in range(10)])
    assert errors == {}
    assert len({entity.target_table for entity in entities.values()}) == 10
    assert all(len(entity.target_table) <= 53 for entity in entities.values())


def test_names_for_people_are_one_printable_line_and_descriptions_hold_no_nul() -> None:
    entities, _ = parse(
        api(name="two\nlines\x1b[31m" + "x" * 500, description="a\x00b" + "x" * 20_000)
    )
    assert entities["items"].api_name.isprintable()
    assert len(entities["items"].api_name) <= 200
    assert "\x00" not in entities["items"].description
    assert len(entities["items"].description) <= 10_000


def test_columns_with_tricky_names_keep_them() -> None:
    names = ['"; DROP TABLE x; --', "select", "a b", "%s", "x" * 200]
    entities, errors = parse(
        api(columns=[ID, *[{"name": name, "data_type": "TEXT"} for name in names]])
    )
    assert errors == {}
    assert [column.name for column in entities["items"].columns][1:] == names


def test_an_unknown_type_is_its_own_kind_of_error() -> None:
    _, errors = parse(api(columns=[ID, {"name": "v", "data_type": "\x1b" + "x" * 150}]))
    assert isinstance(errors["items"], UnknownTypeError)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = [
    "slug",
    "name",
    "description",
    "columns",
    "business_key_columns",
    "delta_strategy",
    "rowversion_codec",
]


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING))
def test_any_json_is_an_entity_or_an_error(changes: dict[str, Any]) -> None:
    entities, errors = parse({**api(), **changes}, api("good"))
    assert "good" in entities or "good" in errors
    assert len(entities) + len(errors) <= 2


def test_the_output_alias_is_the_name_of_the_column_as_in_syncflow() -> None:
    columns = [
        {"name": "PART_NO", "output_alias": "item_number", "data_type": "TEXT"},
        {"output_alias": "base_uom", "data_type": "TEXT"},
        {"name": "plain", "output_alias": "", "data_type": "TEXT"},
    ]
    for keys in (["PART_NO"], ["item_number"]):
        entities, errors = parse(api(columns=columns, business_key_columns=keys))
        assert errors == {}
        assert [column.name for column in entities["items"].columns] == [
            "item_number",
            "base_uom",
            "plain",
        ]
        assert [column.name for column in entities["items"].business_keys] == ["item_number"]
    _, errors = parse(api(columns=[ID, {"data_type": "TEXT"}]))
    assert "output_alias or a name" in str(errors["items"])
