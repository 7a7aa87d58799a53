"""Entities: which sets of columns can become a table, and what their fingerprints notice."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from sync_pipelines.errors import EntityDefinitionError, UnknownTypeError
from sync_pipelines.model.entity import MAX_COLUMNS, Column, DeltaStrategy, Entity, check_columns

KEY = Column("id", "INTEGER", is_nullable=False, is_business_key=True)


def entity_of(*columns: Column) -> Entity:
    return Entity(
        uuid4(), "erp", "items", "Items", "", DeltaStrategy.ROWVERSION, columns, "erp", "items"
    )


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ((), "no columns"),
        ((Column("a", "TEXT"),), "no business key"),
        ((KEY, Column("ID", "TEXT")), "one of them would be lost"),
        ((KEY, Column("doc", "JSON", is_business_key=True)), "no canonical form"),
        ((KEY, *[Column(f"a{number}", "TEXT") for number in range(1700)]), "1701 columns"),
    ],
)
def test_columns_that_cannot_be_a_table_are_refused_with_the_reason(
    columns: tuple[Column, ...], reason: str
) -> None:
    with pytest.raises(EntityDefinitionError, match=reason):
        check_columns(columns)


def test_as_many_columns_as_postgresql_holds_pass() -> None:
    check_columns((KEY, *[Column(f"a{number}", "TEXT") for number in range(MAX_COLUMNS - 1)]))


def test_a_column_of_unknown_type_is_refused() -> None:
    with pytest.raises(UnknownTypeError, match="XMLTYPE"):
        check_columns((KEY, Column("doc", "XMLTYPE")))


def test_the_fingerprint_of_columns_notices_names_types_and_order_but_not_the_spelling() -> None:
    columns = (KEY, Column("a", "VARCHAR(5)"), Column("b", "TEXT"))
    known = entity_of(*columns).columns_fingerprint
    assert entity_of(KEY, Column("a", "varchar2( 5 )"), columns[2]).columns_fingerprint == known
    for changed in (
        (KEY, columns[2], columns[1]),
        (KEY, columns[1]),
        (KEY, replace(columns[1], name="A"), columns[2]),
        (KEY, replace(columns[1], data_type="VARCHAR(6)"), columns[2]),
    ):
        assert entity_of(*changed).columns_fingerprint != known


def test_the_code_version_also_notices_nulls_keys_and_strategy() -> None:
    entity = entity_of(KEY, Column("a", "TEXT"))
    versions = {
        entity.code_version,
        entity_of(KEY, Column("a", "TEXT", is_nullable=False)).code_version,
        entity_of(KEY, Column("a", "TEXT", is_business_key=True)).code_version,
        replace(entity, delta_strategy=DeltaStrategy.HASH).code_version,
    }
    assert len(versions) == 4


def test_names_of_a_long_table_fit_postgresql_and_stay_apart() -> None:
    entity = replace(entity_of(KEY), target_table="t" * 63)
    assert len(entity.rejects_table) <= 63
    assert entity.rejects_table != entity.target_table
    assert replace(entity, target_table="t" * 62 + "u").rejects_table != entity.rejects_table
