"""Checks with one line each: PASSED, FAILED or SKIPPED, what was seen, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.text import Text

from sync_pipelines.catalog.database import Database
from sync_pipelines.cli.shell.output import cell, draw, print_json
from sync_pipelines.destinations.registry import DEFAULT, kind_of
from sync_pipelines.model.check import Check, Verdict, attempt
from sync_pipelines.model.entity import Connector
from sync_pipelines.settings import Settings

_STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.SKIPPED: "yellow"}


def conclude(checks: Sequence[Check], *, as_json: bool) -> None:
    """Show the checks; exit code 1 when one failed."""
    ok = not any(check.verdict is Verdict.FAILED for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": [vars(check) for check in checks]})
    else:
        width = max((len(check.name) for check in checks), default=0)
        for check in checks:
            line = Text.assemble(
                (f"{check.verdict:<8}", _STYLES[check.verdict]),
                f" {check.name:<{width}}  ",
                cell(check.detail),
            )
            if check.verdict is Verdict.FAILED and check.next_command:
                line.append(f"\n         {'':<{width}}  Next: ", "bold").append_text(
                    cell(check.next_command)
                )
            draw(line, soft_wrap=True)
    if not ok:
        raise typer.Exit(1)


def check_connector(
    database: Database, connector: Connector, settings: Settings, prefix: str = ""
) -> list[Check]:
    """Tell apart: missing secret, unreachable source, refused token, wrong shape, refusing database."""
    # Here, since it brings pyarrow, which --help need not wait for.
    from sync_pipelines.sources.registry import source_kind

    checks = list(source_kind(connector).test(connector, settings))
    # Records are staged beside the catalog, whatever the destination is.
    for name in dict.fromkeys([DEFAULT, connector.destination]):
        checks.append(check_destination(database, connector, name))
    return [
        Check(prefix + check.name, check.verdict, check.detail, check.next_command)
        for check in checks
    ]


def check_destination(database: Database, connector: Connector, name: str) -> Check:
    """Does a destination answer, and can the connector's tables be made and written there?"""
    kind = kind_of(name)

    def look() -> str:
        return kind.open(database, connector).check(connector.target_schema)

    if kind.settings_hint is None:
        return attempt("database", look, "sync-pipelines doctor")
    return attempt(kind.name, look, kind.settings_hint)
