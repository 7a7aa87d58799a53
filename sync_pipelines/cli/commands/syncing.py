"""`sync-pipelines sync`: the same code path as the Dagster asset."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.text import Text

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity, list_entities
from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.catalog.runs import ending_of
from sync_pipelines.cli.shell.completion import complete_paths
from sync_pipelines.cli.shell.context import split_path
from sync_pipelines.cli.shell.failures import show_error, show_unexpected
from sync_pipelines.cli.shell.ledgers import COUNTERS, LEDGER_COLUMNS, LEDGER_NUMBERS, result_row
from sync_pipelines.cli.shell.output import JsonOption, cell, examples, print_json, say, show_table
from sync_pipelines.cli.shell.processes import interruptible
from sync_pipelines.cli.shell.progress import Watch
from sync_pipelines.errors import ConfigurationError, SyncError
from sync_pipelines.model.entity import DeltaStrategy, Entity, EntityStatus
from sync_pipelines.model.run import RunResult
from sync_pipelines.settings import Settings

_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class _Outcome:
    entity: Entity
    result: RunResult | None = None
    error: Exception | None = None

    @property
    def exit_code(self) -> int:
        if self.result is not None:
            return self.result.status.exit_code
        return (
            0
            if self.error is None
            else self.error.exit_code
            if isinstance(self.error, SyncError)
            else 1
        )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("sync erp/items", "sync erp crm/contacts --full-refresh"))(sync)


def sync(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="connector/entity, or connector for all its entities.",
            autocompletion=complete_paths,
        ),
    ],
    full_refresh: Annotated[
        bool, typer.Option("--full-refresh", help="Read everything, delete what vanished.")
    ] = False,
    accept_vanished: Annotated[
        bool,
        typer.Option(
            "--accept-vanished",
            help="Delete vanished rows even beyond the configured share, and empty columns whose field is gone.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Sync entities now; one that fails does not stop the others. The exit code is the worst of them: 3 where somebody
    has to look, as at rejected or incomplete runs.
    """
    database = open_catalog(context.obj)
    entities = chosen_entities(database, paths)
    totals = {entity.path: _expected(entity, full_refresh) for entity in entities}
    with interruptible(), Watch(database, totals).following():
        outcomes = _sync_all(
            database,
            context.obj,
            entities,
            full_refresh=full_refresh,
            accept_vanished=accept_vanished,
        )
    if as_json:
        print_json({"results": [_shown(outcome) for outcome in outcomes]})
    else:
        _show(outcomes)
    code = max(outcome.exit_code for outcome in outcomes)
    if code:
        raise typer.Exit(code)


def chosen_entities(database: Database, paths: list[str]) -> list[Entity]:
    """The entities that the paths name, each once; of a whole connector those that are enabled and still offered.

    Raises:
        NotFoundError: no such connector or entity.
        ConfigurationError: a connector without anything to sync.
    """
    chosen: dict[str, Entity] = {}
    for path in paths:
        connector, slug = split_path(path)
        if slug is not None:
            found = [get_entity(database, connector, slug)]
        else:
            get_connector(database, connector)
            found = [
                entity
                for entity in list_entities(database, connector)
                if entity.policy.sync_enabled and entity.status is not EntityStatus.VANISHED
            ]
        if not found:
            raise ConfigurationError(
                f"{connector} has no entity to sync.",
                state="Nothing was started.",
                next_command=f"sync-pipelines discover {connector}",
            )
        chosen |= {entity.path: entity for entity in found}
    return list(chosen.values())


def _expected(entity: Entity, full_refresh: bool) -> int | None:
    reads_all = (
        full_refresh
        or entity.position.cursor is None
        or entity.delta_strategy is not DeltaStrategy.ROWVERSION
    )
    return entity.position.row_count if reads_all else None


def _sync_all(
    database: Database,
    settings: Settings,
    entities: list[Entity],
    *,
    full_refresh: bool,
    accept_vanished: bool,
) -> list[_Outcome]:
    # Deferred: dlt and pyarrow take more than a second, which `--help` and the other commands need not wait.
    from sync_pipelines.runs.sync import sync_entity

    stop = threading.Event()

    def work(entity: Entity) -> _Outcome:
        try:
            result = sync_entity(
                database,
                entity.connector,
                entity.slug,
                settings=settings,
                interrupted=stop.is_set,
                full_refresh=full_refresh,
                accept_vanished=accept_vanished,
            )
            return _Outcome(entity, result)
        except SyncError as error:
            return _Outcome(entity, error=error.at(**entity.where))
        except Exception as error:  # noqa: BLE001 - one entity's fault must not stop the others
            return _Outcome(entity, error=error)

    with ThreadPoolExecutor(min(settings.runs.sync_worker_threads, len(entities)), "sync") as pool:
        futures = [pool.submit(work, entity) for entity in entities]
        try:
            # With a timeout, because a signal may be delivered to another thread and would not wake this one.
            while wait(futures, timeout=_LOOK_SECONDS).not_done:
                pass
        except KeyboardInterrupt:
            stop.set()
            waiting = sum(future.cancel() for future in futures)
            say(
                f"Interrupted: {waiting} not started; the running ones end at their next page.",
                "yellow",
                stderr=True,
            )
            raise
    return [future.result() for future in futures]


def _show(outcomes: list[_Outcome]) -> None:
    rows = [_ledger_row(outcome) for outcome in outcomes]
    show_table("Ledger", LEDGER_COLUMNS, rows, right=LEDGER_NUMBERS)
    for outcome in outcomes:
        if outcome.result is not None:
            _say_remarks(outcome.entity.path, outcome.result)
        if isinstance(outcome.error, SyncError):
            show_error(outcome.error)
        elif outcome.error is not None:
            show_unexpected(outcome.error)


def _ledger_row(outcome: _Outcome) -> Sequence[Any]:
    if outcome.result is not None:
        return result_row(outcome.result)
    ending = ending_of(outcome.error or RuntimeError())
    counters = [None] * (len(COUNTERS) + 2)
    return (outcome.entity.path, *counters, Text(ending.value, style="bold red"))


def _say_remarks(path: str, result: RunResult) -> None:
    """What a run has to say besides its numbers, and the next command."""
    for warning in result.warnings:
        say(f"{path}: {cell(warning)}", "yellow", stderr=True)
    if result.coerced:
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(result.coerced.items()))
        say(f"{path}: coerced as a person allows: {cell(counts)}", "yellow", stderr=True)
    if result.status_reason:
        say(f"{path}: {result.status}. {result.status_reason}", "bold red", stderr=True)
    if result.next_command:
        say(f"{path}: {result.next_command}", "cyan", stderr=True)
    elif result.ledger.quarantined:
        say(
            f"{path}: sync-pipelines quarantine list {path} --run {result.uid}", "cyan", stderr=True
        )


def _shown(outcome: _Outcome) -> dict[str, Any]:
    data: dict[str, Any] = {"path": outcome.entity.path, "ok": outcome.exit_code == 0}
    if outcome.result is not None:
        ledger = outcome.result.ledger
        return {
            **data,
            **{name: value for name, value in asdict(outcome.result).items() if name != "ledger"},
            **ledger.as_dict(),
            "exit_code": outcome.exit_code,
            "balances": ledger.balances,
            "rows_per_second": round(outcome.result.rows_per_second, 1),
        }
    if isinstance(outcome.error, SyncError):
        return {**data, **outcome.error.details(), "exit_code": outcome.exit_code}
    return {
        **data,
        "error": type(outcome.error).__name__,
        "what": str(outcome.error),
        "exit_code": outcome.exit_code,
    }
