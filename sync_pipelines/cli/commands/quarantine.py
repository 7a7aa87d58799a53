"""`sync-pipelines quarantine`: bad records and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.catalog.quarantine import get_quarantined, list_log, list_quarantine
from sync_pipelines.cli.commands import workplace
from sync_pipelines.cli.shell.completion import complete_paths
from sync_pipelines.cli.shell.context import split_path
from sync_pipelines.cli.shell.failures import ListingGroup
from sync_pipelines.cli.shell.output import (
    JsonOption,
    cell,
    draw,
    examples,
    print_json,
    show_fields,
    show_table,
)
from sync_pipelines.cli.shell.uids import Kind, UidArgument, find_uid, short
from sync_pipelines.secrets import printable

SHOWN_CHARACTERS = 4000

group = typer.Typer(
    cls=ListingGroup,
    help="Records that could not be stored as declared, byte for byte, with the reason.",
    epilog=examples(
        "quarantine list erp/items", "quarantine show 0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f"
    ),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="quarantine")
    workplace.register(app, group)


@group.command(
    "list", epilog=examples("quarantine list erp/items", "quarantine list --limit 5 --json")
)
def list_(
    context: typer.Context,
    path: Annotated[
        str | None, typer.Argument(metavar="[CONNECTOR[/ENTITY]]", autocompletion=complete_paths)
    ] = None,
    run: Annotated[
        str | None, typer.Option(metavar="UID", help="Only records of this run.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only with these words in the reason.")] = None,
    rule: Annotated[
        str | None, typer.Option(help="Only of this rule of the gate, or 'rule 3' of its table.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Only with this text in the record or its key.")
    ] = None,
    since: Annotated[datetime | None, typer.Option(help="Only last seen since, in UTC.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="At most so many, newest first.")
    ] = 50,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Also those that are settled: superseded by a good version, released, expired.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List quarantined records, newest first."""
    connector, slug = split_path(path) if path else (None, None)
    database = open_catalog(context.obj)
    found = list_quarantine(
        database,
        connector,
        slug,
        run_uid=None if run is None else find_uid(database, Kind.RUN, run),
        reason=reason,
        rule=rule,
        text=text,
        since=None if since is None else since.replace(tzinfo=UTC),
        limit=limit,
        with_resolved=everything,
    )
    if as_json:
        print_json(found)
    else:
        _show_list(found)


def _show_list(found: list[dict[str, Any]]) -> None:
    rows = []
    for record in found:
        row = (
            short(record["uid"]),
            record["path"],
            _key(record["business_key"]),
            record["column_name"],
            record["reason"],
            record["times_seen"],
            record["last_seen_at"],
        )
        rows.append(row)
    show_table(
        "Quarantine",
        ("record", "entity", "key", "column", "reason", "times seen", "last seen"),
        rows,
        right=("times seen",),
        least=("times seen", "last seen", "column"),
        empty="Nothing is in quarantine.",
    )


@group.command(
    epilog=examples(
        "quarantine show 0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f",
        "quarantine show 0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f --json",
    )
)
def show(context: typer.Context, uid: UidArgument, as_json: JsonOption = False) -> None:
    """Show one quarantined record as it came, or as it was fixed, the bad column marked, and what was done with it."""
    database = open_catalog(context.obj)
    whole = find_uid(database, Kind.RECORD, uid)
    row = get_quarantined(database, whole)
    done = list_log(database, record_uid=whole)
    if as_json:
        print_json({**row, "log": done})
        return
    facts = {
        "entity": row["path"],
        "reason": row["reason"],
        "column": row["column_name"],
        "key": _key(row["business_key"]),
        "rowversion": row["rowversion"],
        "page and position": f"{row['page']}, {row['position']}",
        "first seen": row["first_seen_at"],
        "last seen": row["last_seen_at"],
        "times seen": row["times_seen"],
        "run": str(row["run_uid"]),
        "state": _state(row),
    }
    if done:
        actions = [f"{one['action']} by {one['author']}: {one['reason']}" for one in done]
        facts["done"] = "; ".join(actions)
    show_fields(f"Record {whole}", facts)
    record = bytes(row["edited_record"] or row["record"])
    _show_record(record, row["column_name"])


def _state(row: dict[str, Any]) -> str:
    """How the record was settled, or that it is open and what was done with it."""
    if row["resolution"]:
        return str(row["resolution"])
    words = ["open"]
    if row["edited_record"]:
        words.append("fixed")
    if row["waived_at"]:
        words.append("waived")
    return ", ".join(words)


def _show_record(record: bytes, bad: str | None) -> None:
    """Print the fields of a record, the bad one marked; the text of one that has no fields."""
    fields = _fields(record)
    if fields is None:
        text = record.decode("utf-8", errors="backslashreplace")
        draw(Text("Record, not readable as JSON with data:", style="bold"))
        draw(Text(printable(text, SHOWN_CHARACTERS)), soft_wrap=True)
        return
    rows = []
    for name, value in fields.items():
        is_bad = name == bad
        mark = Text("→" if is_bad else "", style="bold red")
        shown = Text(_value(value), style="red" if is_bad else "")
        rows.append((mark, name, shown))
    show_table("Record", ("", "column", "value as sent"), rows)
    if bad is not None and bad not in fields:
        draw(Text(f"The column {printable(bad)} is missing in the record.", style="red"))


def _fields(record: bytes) -> dict[str, Any] | None:
    try:
        # Numbers stay the text they were sent as.
        whole = json.loads(record, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return None
    data = whole.get("data") if isinstance(whole, dict) else None
    return data if isinstance(data, dict) else None


def _value(value: Any) -> str:
    return printable(
        value if isinstance(value, str) else json.dumps(value, default=str), SHOWN_CHARACTERS
    )


def _key(business_key: Any) -> str | None:
    if not business_key:
        return None
    return ", ".join(
        str(cell(part))
        for part in (business_key if isinstance(business_key, list) else [business_key])
    )
