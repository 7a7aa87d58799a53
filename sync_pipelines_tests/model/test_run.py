"""The ledger: every fetched record ends in exactly one place."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.errors import LedgerError
from sync_pipelines.model.run import Ledger, Mode, RunResult, check_stage

COUNTS = st.integers(0, 10**9)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_ledger_balances_only_when_every_record_has_an_end(
    inserted: int, updated: int, unchanged: int, superseded: int, quarantined: int, deleted: int
) -> None:
    ends = (inserted, updated, unchanged, superseded, quarantined)
    ledger = Ledger(sum(ends), *ends, deleted)
    assert ledger.balances
    assert not Ledger(sum(ends) + 1, *ends, deleted).balances
    assert ledger.written == inserted + updated + deleted


def test_a_ledger_is_written_in_the_order_of_the_balance_sheet() -> None:
    assert list(Ledger().as_dict()) == [
        "fetched",
        "inserted",
        "updated",
        "unchanged",
        "superseded",
        "quarantined",
        "deleted",
    ]


def test_two_counts_of_a_stage_must_agree() -> None:
    check_stage("load", 7, 7)
    with pytest.raises(LedgerError, match="'load' lost count: 7 records came in, 6"):
        check_stage("load", 7, 6)


@pytest.mark.parametrize(("seconds", "rate"), [(2.0, 5.0), (0.0, 0.0)])
def test_a_rate_is_given_even_when_the_clock_did_not_move(seconds: float, rate: float) -> None:
    result = RunResult(
        uid=uuid4(),
        connector="erp",
        slug="items",
        mode=Mode.FULL,
        ledger=Ledger(fetched=10, inserted=10),
        started_at=datetime.now(UTC),
        duration_seconds=seconds,
        table="erp.items",
        row_count=10,
    )
    assert result.rows_per_second == rate


def test_the_share_of_rejects_is_of_different_records_so_that_reading_twice_does_not_thin_it():
    assert Ledger(fetched=44, unchanged=7, superseded=33, quarantined=4).rejected_share == 4 / 11
    assert Ledger(fetched=5, superseded=5).rejected_share == 0
    assert Ledger().rejected_share == 0
