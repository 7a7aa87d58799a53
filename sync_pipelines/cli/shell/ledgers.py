"""The balance sheet of runs as table rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rich.text import Text

from sync_pipelines.model.run import Ledger, RunResult, RunStatus, is_published

Row = tuple[Any, ...]
COUNTERS = ("fetched", "inserted", "updated", "unchanged", "superseded", "quarantined", "deleted")
LEDGER_COLUMNS = ("entity", *COUNTERS, "seconds", "rows/s", "balance")
LEDGER_NUMBERS = (*COUNTERS, "seconds", "rows/s")


def result_row(result: RunResult) -> Row:
    """A finished run."""
    path = f"{result.connector}/{result.slug}"
    balance = _balance(result.ledger, result.status)
    return _row(path, result.ledger, result.duration_seconds, balance)


def run_row(run: dict[str, Any]) -> Row:
    """A row of `bridge.sync_runs`; one that is not finished or failed has no balance."""
    ledger = Ledger.of_row(run)
    status = run["status"]
    if is_published(run):
        balance = _balance(ledger, status)
    else:
        balance = Text("–" if status == "running" else "nothing published", style="dim")
    return _row(run["path"], ledger, run_seconds(run), balance)


def run_seconds(run: dict[str, Any]) -> float:
    """Duration of a run, of a running one until now."""
    ended_at = run["completed_at"] or datetime.now(UTC)
    duration: timedelta = ended_at - run["started_at"]
    return duration.total_seconds()


def _row(path: str, ledger: Ledger, seconds: float, balance: Text) -> Row:
    counts = ledger.as_dict()
    rate = int(ledger.fetched / seconds) if seconds > 0 else 0
    return (path, *counts.values(), seconds, rate, balance)


def _balance(ledger: Ledger, status: str) -> Text:
    """Whether the ledger balances, and how the run ended where that is no success."""
    balance = Text("✓", style="green") if ledger.balances else Text("✗", style="bold red")
    if status != RunStatus.SUCCESS:
        balance.append(f" {status}", style="bold red")
    return balance
