"""The balance sheet of runs as table rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from sync_pipelines.model.run import Ledger, RunResult, RunStatus, is_published

COUNTERS = ("fetched", "inserted", "updated", "unchanged", "superseded", "quarantined", "deleted")
LEDGER_COLUMNS = ("entity", *COUNTERS, "seconds", "rows/s", "balance")
LEDGER_NUMBERS = (*COUNTERS, "seconds", "rows/s")


def result_row(result: RunResult) -> tuple[Any, ...]:
    """A finished run."""
    return _row(
        f"{result.connector}/{result.slug}",
        result.ledger,
        result.duration_seconds,
        ended=result.status,
    )


def run_row(run: dict[str, Any]) -> tuple[Any, ...]:
    """A row of `bridge.sync_runs`; one that is not finished or failed has no balance."""
    ledger = Ledger.of_row(run)
    return _row(
        run["path"],
        ledger,
        run_seconds(run),
        None if is_published(run) else run["status"],
        ended=run["status"],
    )


def run_seconds(run: dict[str, Any]) -> float:
    """Duration of a run, of a running one until now."""
    return float(((run["completed_at"] or datetime.now(UTC)) - run["started_at"]).total_seconds())


def _row(
    path: str, ledger: Ledger, seconds: float, status: str | None = None, *, ended: str
) -> tuple[Any, ...]:
    if status is not None:
        balance = Text("–" if status == "running" else "nothing published", style="dim")
    else:
        balance = Text("✓", style="green") if ledger.balances else Text("✗", style="bold red")
        if ended != RunStatus.SUCCESS:
            balance.append(f" {ended}", style="bold red")
    rate = int(ledger.fetched / seconds) if seconds > 0 else 0
    return (path, *ledger.as_dict().values(), seconds, rate, balance)
