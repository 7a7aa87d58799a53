"""What a person does with quarantined records and reviews: `quarantine fix, waive, release, expire, export, log` and
`review`.
"""

from __future__ import annotations

import csv
import getpass
import io
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.catalog.quarantine import expire_records, list_log, list_quarantine, open_of
from sync_pipelines.cli.shell.completion import complete_paths
from sync_pipelines.cli.shell.context import split_path
from sync_pipelines.cli.shell.failures import ListingGroup
from sync_pipelines.cli.shell.output import JsonOption, examples, print_json, say, show_table
from sync_pipelines.cli.shell.uids import Kind, UidArgument, find_uid, find_uids, short
from sync_pipelines.errors import SettingsError
from sync_pipelines.files.private import write_private
from sync_pipelines.runs.reviews import accept_review, list_reviews
from sync_pipelines.secrets import escape_controls, redact

_RELEASED_COLUMNS = (
    "run",
    "entity",
    "inserted",
    "updated",
    "unchanged",
    "superseded",
    "quarantined",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_COLUMNS = (
    "uid",
    "path",
    "business_key",
    "rowversion",
    "column_name",
    "reason",
    "times_seen",
    "first_seen_at",
    "last_seen_at",
    "resolution",
    "record",
)

AuthorOption = Annotated[
    str, typer.Option("--author", help="Who you are, for the log; the login name when left out.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the log.")]
PathArgument = Annotated[
    str | None, typer.Argument(metavar="[CONNECTOR[/ENTITY]]", autocompletion=complete_paths)
]

review_group = typer.Typer(
    cls=ListingGroup,
    help="Records that are in their table but should be looked at.",
    epilog=examples("review list erp/items", "review accept UID --reason 'checked by phone'"),
)


def register(app: typer.Typer, quarantine: typer.Typer) -> None:
    """Add the commands."""
    uid = "0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f"
    add = quarantine.command
    add(
        epilog=examples(
            f"quarantine fix {uid} --set stock=7 --reason 'typing error, asked the shop'",
            f"quarantine fix {uid} --record fixed.json --reason …",
        )
    )(fix)
    add(
        epilog=examples(
            f"quarantine waive {uid} --reason 'sample without weight'",
            f"quarantine waive {uid} --author ada --reason …",
        )
    )(waive)
    add(
        epilog=examples(
            f"quarantine release {uid} --reason 'fixed'",
            f"quarantine release {uid} --author ada --reason … --json",
        )
    )(release)
    add(
        epilog=examples(
            "quarantine expire erp/items --older-than-days 90 --reason 'never fixed at the source'",
            "quarantine expire --older-than-days 365 --reason …",
        )
    )(expire)
    add(
        epilog=examples(
            "quarantine export erp/items > rejects.csv", "quarantine export erp --out rejects.csv"
        )
    )(export)
    add(epilog=examples("quarantine log erp/items", f"quarantine log --record {uid} --json"))(log)
    app.add_typer(review_group, name="review")


def _author(author: str) -> str:
    try:
        name = author.strip() or getpass.getuser()
    except (OSError, KeyError):
        name = ""
    if not name:
        raise SettingsError(
            "The log needs to know who you are.",
            state="Nothing was changed.",
            next_command="give --author NAME",
        )
    return name


def _reason(reason: str) -> str:
    if not reason.strip():
        raise SettingsError(
            "The log needs a reason.", state="Nothing was changed.", next_command="give --reason …"
        )
    return reason


def fix(
    context: typer.Context,
    uid: UidArgument,
    reason: ReasonOption,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="COLUMN=VALUE",
            help="A value as JSON, or else a text; may be repeated.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="File with a whole new record, as the source sends them.",
        ),
    ] = None,
    author: AuthorOption = "",
) -> None:
    """Keep an edited version of a record, which must pass; then release it."""
    # Deferred: dlt and pyarrow take more than a second, which `--help` and the other commands need not wait.
    from sync_pipelines.runs.release import fix_record

    if bool(values) == (record is not None):
        raise SettingsError(
            "Give either --set, once or more, or --record.", state="Nothing was changed."
        )
    changed = dict(_assignment(one) for one in values or [])
    database = open_catalog(context.obj)
    fix_record(
        database,
        find_uid(database, Kind.RECORD, uid),
        changed or None,
        record.read_bytes() if record else None,
        author=_author(author),
        reason=_reason(reason),
        settings=context.obj,
    )
    say(
        f"Kept beside the record as it came. Next: sync-pipelines quarantine release {uid} --reason …"
    )


def _assignment(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise SettingsError(f"{text!r} is not COLUMN=VALUE.", state="Nothing was changed.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def waive(
    context: typer.Context, uid: UidArgument, reason: ReasonOption, author: AuthorOption = ""
) -> None:
    """Let a record pass whatever its gate's rules say, now and when it is sent again; then release it."""
    # Deferred: dlt and pyarrow take more than a second, which `--help` and the other commands need not wait.
    from sync_pipelines.runs.release import waive_record

    database = open_catalog(context.obj)
    waive_record(
        database,
        find_uid(database, Kind.RECORD, uid),
        author=_author(author),
        reason=_reason(reason),
    )
    say(f"The rules are waived for it. Next: sync-pipelines quarantine release {uid} --reason …")


def release(
    context: typer.Context,
    texts: Annotated[
        list[str], typer.Argument(metavar="UID...", help="Uids, or the first letters of each.")
    ],
    reason: ReasonOption,
    author: AuthorOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send records the whole way again, as one more run. Exit code 3 when one is refused again."""
    # Deferred: dlt and pyarrow take more than a second, which `--help` and the other commands need not wait.
    from sync_pipelines.runs.release import release_records

    database = open_catalog(context.obj)
    uids = find_uids(database, Kind.RECORD, texts)
    results = release_records(
        database, uids, author=_author(author), reason=_reason(reason), settings=context.obj
    )
    with database.connect() as connection:
        still_open = open_of(connection, uids)
    refused = [str(uid) for uid in uids if uid in still_open]
    runs = []
    for result in results:
        entity = f"{result.connector}/{result.slug}"
        runs.append({"run": str(result.uid), "entity": entity, **result.ledger.as_dict()})
    if as_json:
        print_json({"runs": runs, "refused": refused})
    else:
        rows = [[run[name] for name in _RELEASED_COLUMNS] for run in runs]
        show_table("Released", _RELEASED_COLUMNS, rows)
    if refused:
        if not as_json:
            following = f"sync-pipelines quarantine show {refused[0]}"
            say(f"Refused again: {', '.join(refused)}. Next: {following}", "yellow")
        raise typer.Exit(3)


def expire(
    context: typer.Context,
    reason: ReasonOption,
    older_than_days: Annotated[
        int, typer.Option(min=1, max=36_500, help="Last seen more than so many days ago.")
    ],
    path: PathArgument = None,
    author: AuthorOption = "",
) -> None:
    """Settle records that were not seen for long; one that is sent again opens again."""
    connector, slug = split_path(path) if path else (None, None)
    count = expire_records(
        open_catalog(context.obj),
        connector,
        slug,
        days=older_than_days,
        author=_author(author),
        reason=_reason(reason),
    )
    say(f"{count} records expired.")


def export(
    context: typer.Context,
    path: PathArgument = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; standard output when left out.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are settled.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000)] = 100_000,
) -> None:
    """Write quarantined records as CSV that no spreadsheet takes for formulas."""
    database = open_catalog(context.obj)
    connector, slug = split_path(path) if path else (None, None)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for row in list_quarantine(
        database, connector, slug, limit=limit, with_resolved=everything, with_record=True
    ):
        record = bytes(row["record"]).decode("utf-8", errors="backslashreplace")
        whole = {**row, "record": record, "business_key": " / ".join(row["business_key"] or [])}
        writer.writerow([harmless(whole[name]) for name in _COLUMNS])
    if out is None:
        sys.stdout.write(text.getvalue())
    else:
        write_private(out, text.getvalue())
        say(f"Written to {out}.")


def harmless(value: Any) -> str:
    """A cell that a spreadsheet or terminal shows as text: redacted, on one line, with an apostrophe where a formula
    would begin.
    """
    raw = redact("" if value is None else str(value))
    text = escape_controls(raw)
    begins = raw.lstrip(" ").startswith(_FORMULA) or raw.lstrip().startswith(_FORMULA)
    return f"'{text}" if begins else text


def log(
    context: typer.Context,
    path: PathArgument = None,
    record: Annotated[str | None, typer.Option(metavar="UID", help="Only of this record.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show who did what and why, newest first."""
    database = open_catalog(context.obj)
    found = list_log(
        database,
        path,
        record_uid=None if record is None else find_uid(database, Kind.RECORD, record),
        limit=limit,
    )
    if as_json:
        print_json(found)
        return
    show_table(
        "What was done",
        ("when", "entity", "action", "record", "author", "reason", "run"),
        [
            (
                row["happened_at"],
                row["path"],
                row["action"],
                short(row["record_uid"] or row["review_uid"]),
                row["author"],
                row["reason"],
                None if row["run_uid"] is None else short(row["run_uid"]),
            )
            for row in found
        ],
        empty="Nothing was done.",
    )


@review_group.command("list", epilog=examples("review list erp/items", "review list --all --json"))
def list_(
    context: typer.Context,
    path: PathArgument = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that are accepted or settled.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List records under review, newest first."""
    connector, slug = split_path(path) if path else (None, None)
    found = list_reviews(
        open_catalog(context.obj), connector, slug, limit=limit, with_closed=everything
    )
    if as_json:
        print_json(found)
        return
    show_table(
        "Reviews",
        ("review", "entity", "key", "reason", "outcome", "last seen"),
        [
            (
                short(row["uid"]),
                row["path"],
                " / ".join(row["business_key"]),
                row["reason"],
                row["outcome"],
                row["last_seen_at"],
            )
            for row in found
        ],
        empty="Nothing is under review.",
    )


@review_group.command(
    epilog=examples(
        "review accept 0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f --reason 'checked by phone'",
        "review accept UID --author ada --reason …",
    )
)
def accept(
    context: typer.Context, uid: UidArgument, reason: ReasonOption, author: AuthorOption = ""
) -> None:
    """Accept a record as it is; it comes back to the list when its content changes."""
    database = open_catalog(context.obj)
    accept_review(
        database,
        find_uid(database, Kind.REVIEW, uid),
        author=_author(author),
        reason=_reason(reason),
    )
    say("Accepted.")
