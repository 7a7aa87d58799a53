"""The contract of an entity: which records pass, and that PostgreSQL would take exactly those."""

from __future__ import annotations

from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.gate.contract import MAX_KEY_BYTES, Violation, judge_batch
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines_tests.batches.helpers import column, entity_of, key

ENTITY = entity_of(
    key("id"), column("short", "VARCHAR(3)"), column("must", "INTEGER", is_nullable=False)
)


def judge(entity: Entity, *rows: tuple[Any, ...]) -> list[Violation]:
    arrays = [
        pa.array([row[place] for row in rows], one.type.arrow)
        for place, one in enumerate(entity.columns)
    ]
    return judge_batch(
        entity, pa.table(arrays, names=[f"c{place}" for place in range(len(arrays))])
    )


def test_records_that_keep_the_contract_pass() -> None:
    assert judge(ENTITY, ("a", "abc", 1), ("b", None, 2), ("", "", 0)) == []


def test_every_bad_record_is_named_once_with_its_first_column_and_reason() -> None:
    violations = judge(
        ENTITY,
        ("a", "abc", 1),
        (None, "abcd", None),
        ("b", "abcd", None),
        ("c", None, None),
        ("d", "x", 5),
    )
    assert violations == [
        Violation(1, "id", "The business key is null."),
        Violation(2, "short", "It has more than the 3 characters of VARCHAR(3); nothing is cut."),
        Violation(3, "must", "It is null, but declared NOT NULL."),
    ]


def test_lengths_count_characters_and_not_bytes() -> None:
    assert judge(ENTITY, ("a", "😀é中", 1)) == []
    assert [violation.index for violation in judge(ENTITY, ("a", "😀é中x", 1))] == [0]
    assert [violation.index for violation in judge(ENTITY, ("a", "e\u0301e\u0301", 1))] == [0]


def test_trailing_blanks_count_although_postgresql_would_cut_them_silently() -> None:
    assert [violation.column for violation in judge(ENTITY, ("a", "abc ", 1))] == ["short"]


def test_a_key_declared_nullable_must_still_be_there() -> None:
    entity = entity_of(Column("id", "TEXT", is_nullable=True, is_business_key=True))
    assert judge(entity, (None,)) == [Violation(0, "id", "The business key is null.")]


def test_a_key_longer_than_an_index_entry_is_refused_by_its_bytes() -> None:
    one, two = entity_of(key("id")), entity_of(key("id"), key("other"))
    assert judge(one, ("é" * (MAX_KEY_BYTES // 2),)) == []
    assert "2000 bytes" in judge(one, ("é" * (MAX_KEY_BYTES // 2) + "x",))[0].reason
    assert judge(two, ("x" * 1000, "x" * 1000)) == []
    assert [violation.column for violation in judge(two, ("x" * 1000, "x" * 1001))] == ["other"]


def test_a_whole_batch_of_bad_records_is_reported_completely() -> None:
    violations = judge(ENTITY, *[("k", "too long", number) for number in range(5000)])
    assert [violation.index for violation in violations] == list(range(5000))


def test_columns_may_have_any_name_and_there_may_be_many() -> None:
    entity = entity_of(
        key('"; DROP'), *[column(f"c{number}", "VARCHAR(1)") for number in range(300)]
    )
    rows = [("k", *["x"] * 300), ("k", *["x"] * 299, "xy")]
    assert [(violation.index, violation.column) for violation in judge(entity, *rows)] == [
        (1, "c299")
    ]


@pytest.fixture(scope="module")
def connection(server_url: str) -> Any:
    with psycopg.connect(server_url, autocommit=True) as opened:
        opened.execute(
            "CREATE TEMP TABLE judged (id text NOT NULL, short character varying(3), must integer"
            " NOT NULL, UNIQUE (id))"
        )
        yield opened


@given(
    st.none()
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=5),
    st.none()
    | st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=5),
    st.none() | st.integers(-(2**31), 2**31 - 1),
)
def test_the_gate_refuses_what_postgresql_refuses(
    connection: psycopg.Connection[Any], identity: str | None, short: str | None, must: int | None
) -> None:
    try:
        connection.execute("TRUNCATE judged")
        connection.execute("INSERT INTO judged VALUES (%s, %s, %s)", [identity, short, must])
        kept = connection.execute("SELECT * FROM judged").fetchone() == (identity, short, must)
    except psycopg.DataError:
        kept = False
    except psycopg.IntegrityError:
        kept = False
    assert kept == (judge(ENTITY, (identity, short, must)) == [])


@pytest.mark.parametrize("keys", [1, 2, 4, 16])
def test_the_longest_keys_that_pass_fit_the_index_of_postgresql(
    connection: psycopg.Connection[Any], keys: int
) -> None:
    import random

    columns = ", ".join(f"k{number} text" for number in range(keys))
    names = ", ".join(f"k{number}" for number in range(keys))
    connection.execute(
        f"DROP TABLE IF EXISTS pg_temp.longest; CREATE TEMP TABLE longest ({columns}, UNIQUE ({names}))"
    )
    entity = entity_of(*[key(f"k{number}") for number in range(keys)])
    # Random letters, since PostgreSQL would compress equal ones.
    row = [
        "".join(chr(random.randrange(33, 127)) for _ in range(MAX_KEY_BYTES // keys))
        for _ in range(keys)
    ]
    assert judge(entity, tuple(row)) == []
    connection.execute(f"INSERT INTO longest VALUES ({', '.join(['%s'] * keys)})", row)
