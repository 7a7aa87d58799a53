"""Checks with one line each: PASSED, FAILED or SKIPPED, what was seen, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    verdicts = {check.verdict for check in checks}
    ok = Verdict.FAILED not in verdicts
    if as_json:
        shown = [vars(check) for check in checks]
        print_json({"ok": ok, "checks": shown})
    else:
        width = max((len(check.name) for check in checks), default=0)
        for check in checks:
            draw(_line(check, width), soft_wrap=True)
    if not ok:
        raise typer.Exit(1)


def _line(check: Check, width: int) -> Text:
    verdict = f"{check.verdict:<8}"
    name = f" {check.name:<{width}}  "
    line = Text.assemble((verdict, _STYLES[check.verdict]), name, cell(check.detail))
    if check.verdict is Verdict.FAILED and check.next_command:
        indent = " " * (len(verdict) + len(name))
        line.append(f"\n{indent}Next: ", "bold")
        line.append_text(cell(check.next_command))
    return line


def check_connector(
    database: Database, connector: Connector, settings: Settings, prefix: str = ""
) -> list[Check]:
    """Check secret, source, token, shape of the answers and database, each by itself."""
    # Here, since it brings pyarrow, which --help need not wait for.
    from sync_pipelines.sources.registry import source_kind

    kind = source_kind(connector)
    checks = list(kind.test(connector, settings))
    # Records are staged beside the catalog, whatever the destination is.
    for name in dict.fromkeys([DEFAULT, connector.destination]):
        checks.append(check_destination(database, connector, name))
    return [replace(check, name=prefix + check.name) for check in checks]


def check_destination(database: Database, connector: Connector, name: str) -> Check:
    """Does a destination answer? PostgreSQL also says whether it lets the connector's tables be made and written."""
    kind = kind_of(name)

    def look() -> str:
        destination = kind.open(database, connector)
        return destination.check(connector.target_schema)

    if kind.settings_hint is None:
        return attempt("database", look, "sync-pipelines doctor")
    return attempt(kind.name, look, kind.settings_hint)
