"""The rules by which a record changes its row are the same text in every destination, up to its spelling."""

from __future__ import annotations

from uuid import uuid4

import pytest

from sync_pipelines.destinations.marks import is_to_mark
from sync_pipelines.destinations.postgres.dialect import POSTGRES
from sync_pipelines.destinations.rows import record_values
from sync_pipelines.destinations.trino.dialect import TRINO
from sync_pipelines.destinations.verdicts import (
    Counts,
    age_among_records,
    row_is_newer,
    rules_of,
)
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import REVIEW_COLUMN, Column, DeltaStrategy, Entity
from sync_pipelines.model.publish import PublishRequest, ReadPosition, ReadResult
from sync_pipelines.model.run import Mode

COLUMNS = (Column("id", "INTEGER", False, True), Column("note", "TEXT"))
ENTITY = Entity(
    uuid4(), "erp", "notes", "Notes", "", DeltaStrategy.ROWVERSION, COLUMNS, "erp", "notes"
)


def request(mode: Mode, *, released: bool = False, entity: Entity = ENTITY) -> PublishRequest:
    return PublishRequest(entity, uuid4(), mode, "bridge", released=(uuid4(),) if released else ())


def read(*, keyset: bool = True) -> ReadResult:
    return ReadResult(
        fetched=1, reread=0, rejected=0, position=ReadPosition(codec=Codec.TEXT), keyset=keyset
    )


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("mode", list(Mode))
def test_both_destinations_judge_by_the_same_rules(mode: Mode, released: bool) -> None:
    # Without an order of rowversions nothing is left that the two spell differently.
    ours, theirs = (
        rules_of(dialect, request(mode, released=released), read(keyset=False))
        for dialect in (POSTGRES, TRINO)
    )
    assert ours == theirs


def test_both_destinations_mark_the_same_rows_and_keep_the_same_record_of_a_key() -> None:
    asked, unordered = request(Mode.DELTA), read(keyset=False)
    for rule in (
        lambda dialect: is_to_mark(dialect, ENTITY, unordered.order),
        lambda dialect: age_among_records(dialect, asked, unordered),
        lambda dialect: record_values(dialect.quote, ENTITY),
    ):
        assert rule(POSTGRES) == rule(TRINO)


def test_a_row_that_is_newer_than_its_rejected_record_is_not_marked() -> None:
    assert is_to_mark(POSTGRES, ENTITY, None) == "NOT t._bridge_deleted"
    newer = row_is_newer(POSTGRES, Codec.TEXT)
    assert is_to_mark(POSTGRES, ENTITY, Codec.TEXT) == f"NOT t._bridge_deleted AND NOT {newer}"


def test_only_a_delta_in_known_order_takes_a_row_for_newer() -> None:
    assert "_bridge_rowversion" in rules_of(POSTGRES, request(Mode.DELTA), read()).stale
    for unsure in (
        rules_of(POSTGRES, request(Mode.FULL), read()),
        rules_of(POSTGRES, request(Mode.DELTA), read(keyset=False)),
    ):
        assert unsure.stale == "(false AND NOT t._bridge_deleted)"


def test_a_released_record_that_is_older_than_its_row_is_no_contradiction() -> None:
    assert rules_of(POSTGRES, request(Mode.DELTA, released=True), read()).contrary == "false"
    assert rules_of(POSTGRES, request(Mode.DELTA), read()).contrary != "false"


def test_a_full_read_leaves_hashes_of_other_columns_alone() -> None:
    assert "_bridge_hash" in rules_of(TRINO, request(Mode.DELTA), read()).touched
    assert "_bridge_hash" not in rules_of(TRINO, request(Mode.FULL), read()).touched
    assert REVIEW_COLUMN not in ENTITY.flags.values()


def test_every_record_has_one_verdict_and_what_is_written_is_counted_once() -> None:
    counts = Counts(new=1, stale=2, changed=4, returned=8, touched=16, same=32, missing=64)
    assert counts.staged == 63
    assert (counts.updated, counts.written) == (28, 29)
    assert counts.live_before == 4 + 16 + 32 + 64
