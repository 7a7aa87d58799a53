"""`sync-pipelines audit`: compare a source with its table and say what was missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.cli.commands.entities import PathArgument
from sync_pipelines.cli.shell.context import split_entity_path
from sync_pipelines.cli.shell.output import (
    JsonOption,
    examples,
    print_json,
    say,
    show_fields,
    show_table,
)

if TYPE_CHECKING:
    from sync_pipelines.runs.audit import AuditReport

DEFAULT_RANGES = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("audit erp/items", "audit erp/items --all"))(audit)


def audit(
    context: typer.Context,
    path: PathArgument,
    everything: Annotated[
        bool, typer.Option("--all", help="Read the whole source and compare every key range.")
    ] = False,
    ranges: Annotated[
        int, typer.Option(min=1, max=10_000, help="Random pages to read.")
    ] = DEFAULT_RANGES,
    seed: Annotated[int | None, typer.Option(help="Choose the same ranges again.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read random ranges of a source again, or everything, and compare them with the table; nothing is changed.

    Exit code 1 when something was missed that no sync will bring.
    """
    # 2 s of imports that no other command needs to wait for.
    from sync_pipelines.runs.audit import audit_entity

    database = open_catalog(context.obj)
    connector, slug = split_entity_path(path)
    report = audit_entity(
        database,
        connector,
        slug,
        ranges=None if everything else ranges,
        seed=seed,
        settings=context.obj,
    )
    if as_json:
        print_json(report.as_dict())
    else:
        _show(report)
    if report.missed or report.extra:
        raise typer.Exit(1)


def _show(report: AuditReport) -> None:
    scope = "everything" if report.everything else "random ranges"
    show_fields(
        f"Audit of {report.entity}",
        {
            f"records compared ({scope})": report.compared,
            "equal in the table": report.equal,
            "waiting for the next sync": report.waiting,
            "in quarantine": report.quarantined,
            "missed": report.missed,
            "missed share": f"{report.missed_share:.4%}",
            "rows that the source does not have": report.extra
            if report.everything
            else "not looked for",
        },
    )
    if report.buckets:
        equal = sum(bucket.equal for bucket in report.buckets)
        say(
            f"Key ranges: {equal} of {len(report.buckets)} have the same count and content on both sides."
        )
        show_table(
            "Key ranges that differ",
            ("range", "at the source", "in the table"),
            [
                (bucket.number, bucket.source_rows, bucket.table_rows)
                for bucket in report.buckets
                if not bucket.equal
            ],
            right=("range", "at the source", "in the table"),
            empty="No key range differs.",
        )
    if report.samples:
        show_table(
            "Missed records",
            ("key", "rowversion", "finding"),
            [
                (" / ".join(map(str, sample["key"])), sample["rowversion"], sample["finding"])
                for sample in report.samples
            ],
        )
        say(f"Bring them: sync-pipelines sync {report.entity} --full-refresh", "bold")
    if report.suggested_lookback_seconds is not None:
        say(
            f"Records became visible up to {report.late_seconds:,.0f} s late, the lookback is"
            f" {report.lookback_seconds} s. Next: sync-pipelines entity set {report.entity} --lookback-seconds"
            f" {report.suggested_lookback_seconds}",
            "bold",
        )
