"""Drift is a pure diff: what follows by itself, what needs a person, and when everything is read again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sync_pipelines.discovery.drift import Verdict, diff_entity
from sync_pipelines.model.entity import Column, DeltaStrategy, Entity
from sync_pipelines_tests.batches.helpers import column, entity_of, key

KEY, NAME, SIZE = (
    key("id", "INTEGER"),
    column("name", "VARCHAR(10)"),
    column("size", "NUMERIC(10,3)"),
)
STORED = entity_of(KEY, NAME, SIZE)


def becomes(*columns: Column) -> Entity:
    return replace(STORED, columns=columns)


def test_no_change_is_the_same() -> None:
    drift = diff_entity(STORED, replace(STORED))
    assert (drift.verdict, drift.plan, drift.read_everything_again) == (Verdict.SAME, "", False)


def test_another_spelling_of_the_same_type_is_the_same() -> None:
    assert (
        diff_entity(STORED, becomes(KEY, column("name", "varchar2(10 char)"), SIZE)).verdict
        is Verdict.SAME
    )


@pytest.mark.parametrize(
    ("changed", "words", "again"),
    [
        (becomes(KEY, NAME, SIZE, column("new", "DATE")), "column new date is added", True),
        (
            becomes(KEY, column("name", "TEXT"), SIZE),
            "from character varying(10) to text (wider)",
            True,
        ),
        (
            becomes(KEY, NAME, column("size", "NUMERIC(12,3)")),
            "from numeric(10,3) to numeric(12,3) (wider)",
            True,
        ),
        (becomes(key("id", "BIGINT"), NAME, SIZE), "from integer to bigint (wider)", True),
        (becomes(KEY, NAME), "column size is gone; the table keeps its last values", False),
        (
            becomes(KEY, column("name", "VARCHAR(10)", is_nullable=False), SIZE),
            "name no longer allows nulls",
            False,
        ),
        (becomes(KEY, SIZE, NAME), "order of the columns changed", False),
        (replace(STORED, description="new"), "name or description changed", False),
        (replace(STORED, delta_strategy=DeltaStrategy.FULL), "rowversion becomes full", False),
    ],
)
def test_what_loses_nothing_is_followed(changed: Entity, words: str, again: bool) -> None:
    drift = diff_entity(STORED, changed)
    assert drift.verdict is Verdict.FOLLOW
    assert words in drift.plan
    assert drift.read_everything_again is again


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            becomes(KEY, column("name", "VARCHAR(9)"), SIZE),
            "from character varying(10) to character varying(9) (not wider)",
        ),
        (becomes(KEY, column("name", "INTEGER"), SIZE), "(not wider)"),
        (becomes(KEY, NAME, column("size", "TEXT")), "from numeric(10,3) to text (not wider)"),
        (becomes(KEY, key("name", "VARCHAR(10)"), SIZE), "business key id becomes id, name"),
        (
            becomes(column("id", "INTEGER"), key("name", "VARCHAR(10)"), SIZE),
            "business key id becomes name",
        ),
    ],
)
def test_what_would_cut_reinterpret_or_rematch_needs_a_person(changed: Entity, words: str) -> None:
    drift = diff_entity(STORED, changed)
    assert drift.verdict is Verdict.DECIDE
    assert words in drift.plan


def test_one_breaking_change_among_harmless_ones_stops_and_the_plan_names_all() -> None:
    drift = diff_entity(STORED, becomes(KEY, column("name", "DATE"), column("new")))
    assert drift.verdict is Verdict.DECIDE
    assert drift.plan.startswith("column name changes")
    assert "column new text is added" in drift.plan
    assert "column size is gone" in drift.plan


def test_allowing_nulls_reads_again_since_such_records_were_refused() -> None:
    strict = replace(STORED, columns=(KEY, replace(NAME, is_nullable=False), SIZE))
    assert diff_entity(strict, STORED).read_everything_again


def test_a_new_strategy_by_rowversion_reads_everything_once() -> None:
    assert diff_entity(
        replace(STORED, delta_strategy=DeltaStrategy.HASH), STORED
    ).read_everything_again


def test_bytes_in_another_notation_are_followed_and_read_again() -> None:
    raw, blob = (
        replace(STORED, columns=(KEY, column("b", "LONG RAW"))),
        replace(STORED, columns=(KEY, column("b", "BLOB"))),
    )
    drift = diff_entity(raw, blob)
    assert (drift.verdict, drift.read_everything_again) == (Verdict.FOLLOW, True)
    assert "written as BLOB, no longer as LONG RAW" in drift.plan
