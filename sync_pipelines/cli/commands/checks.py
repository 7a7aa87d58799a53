"""Checks with one line each: PASSED, FAILED or SKIPPED, what was seen, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.text import Text

from sync_pipelines.catalog.database import Database
from sync_pipelines.cli.shell.output import cell, draw, print_json
from sync_pipelines.destinations.registry import kind_of
from sync_pipelines.errors import ConfigurationError
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

    checks = [
        *source_kind(connector).test(connector, settings),
        check_target(database, connector.target_schema),
    ]
    if kind_of(connector.destination).settings_hint is not None:
        checks.append(check_destination(database, connector))
    return [
        Check(prefix + check.name, check.verdict, check.detail, check.next_command)
        for check in checks
    ]


def check_destination(database: Database, connector: Connector) -> Check:
    """Does a destination that is not the catalog's own server answer, and can it be written to?"""
    kind = kind_of(connector.destination)
    return attempt(kind.name, lambda: kind.open(database, connector).check(), kind.settings_hint)


def check_target(database: Database, schema: str) -> Check:
    """Can the target schema be made and written?"""

    def look() -> str:
        with database.connect() as connection:
            row = connection.execute(
                """
                SELECT has_database_privilege(current_database(), 'CREATE') AS may_create,
                       (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %s) AS may_write
                """,
                [schema],
            ).fetchone()
        assert row is not None
        if row["may_write"] is False or (row["may_write"] is None and not row["may_create"]):
            raise ConfigurationError(
                f"The database role may not {'write to' if row['may_write'] is False else 'create'} the schema"
                f" {schema}.",
                next_command="GRANT CREATE"
                f" ON {'SCHEMA ' + schema if row['may_write'] is False else 'DATABASE …'} TO …",
            )
        return f"schema {schema} {'exists' if row['may_write'] else 'can be created'} in {database.location}"

    return attempt("database", look, "sync-pipelines doctor")
