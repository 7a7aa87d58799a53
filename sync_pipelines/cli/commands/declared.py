"""Declared sources on the command line: plan, apply, show, export."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
import yaml

from sync_pipelines.catalog.connectors import list_connectors
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.fingerprints import learn_secrets
from sync_pipelines.catalog.opening import open_migrated
from sync_pipelines.catalog.webhooks import list_webhooks, shown_address
from sync_pipelines.cli.shell.output import print_json, say, show_table
from sync_pipelines.cli.shell.running import show_in_dagster
from sync_pipelines.declare.connector_file import LoadedFile, load_file
from sync_pipelines.declare.plan import ConnectorPlan, apply_connector, as_connector, plan_connector
from sync_pipelines.declare.shipped_gates import apply_gates, plan_gates
from sync_pipelines.declare.usage import Usage, plan_usage
from sync_pipelines.discovery.report import DiscoveryReport
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.entity import Connector
from sync_pipelines.network.outbound import Outbound, agree, from_agreement
from sync_pipelines.secrets import redact_data, redact_known
from sync_pipelines.settings import Settings

ACTION_REQUIRED = 3
SHOWN_COLUMNS = 200


def apply_file(
    settings: Settings,
    file: str,
    inputs: list[str],
    base_url: str | None,
    *,
    infer_again: bool,
    plan_only: bool,
    allow_private: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """`connector apply`."""
    loaded = load_file(file, parse_inputs(inputs), base_url=base_url)
    declaration = loaded.declaration
    database = open_migrated(settings)
    gates = plan_gates(file, declaration.name, settings.gates)
    usage, outbound = _show_usage(
        database,
        settings,
        loaded,
        gates,
        infer_again=infer_again,
        allow_private=allow_private,
        as_json=as_json,
    )
    if not _may_ask(usage, declaration.name, plan_only=plan_only, yes=yes, as_json=as_json):
        _say_not_agreed(usage, file, as_json=as_json)
        _leave(True)
    plan = plan_connector(
        database, declaration, settings, infer_again=infer_again, outbound=outbound
    )
    nothing_to_do = plan.is_empty and not gates
    if not as_json:
        _show_plan(plan, gates)
    if plan_only or nothing_to_do:
        if as_json:
            planned = {"plan": _plan_json(plan, gates), "usage": usage.as_json()}
            print_json({**planned, "applied": False})
        elif nothing_to_do:
            say(f"{declaration.name} is as its file says; nothing to do.")
        _leave(bool(plan.invalid or plan.breaking))
        return
    if not yes:
        _confirm(declaration.name, file)
    # First, so that nothing is synced without the rules that belong to it.
    apply_gates(gates, settings.gates / declaration.name)
    report = apply_connector(database, plan, settings, allow_private=allow_private)
    learn_secrets(database, settings)
    definitions = show_in_dagster(settings, database, quiet=as_json)
    if as_json:
        shown = {
            "plan": _plan_json(plan, gates),
            "usage": usage.as_json(),
            "applied": True,
            "report": report.as_dict(),
            "definitions": definitions,
        }
        print_json(shown)
    else:
        _say_applied(plan, report)
    _leave(bool(plan.invalid) or report.needs_action)


def _confirm(name: str, file: str) -> None:
    """Ask for the agreement.

    Raises:
        SettingsError: it is refused.
    """
    question = f"Agree to what it uses, and apply this to {name}?"
    if not typer.confirm(question, err=True):
        raise SettingsError(
            "Not confirmed.",
            state="Nothing was changed.",
            next_command=f"sync-pipelines connector apply {file} --yes",
        )


def _say_not_agreed(usage: Usage, file: str, *, as_json: bool) -> None:
    message = "Nothing was asked and no secret was read: nobody has agreed to these addresses yet."
    if as_json:
        print_json({"plan": None, "usage": usage.as_json(), "applied": False, "message": message})
        return
    say(message)
    say(
        f"Next: sync-pipelines connector apply {file} --plan --yes, which agrees to ask them for the rest of the plan",
        "cyan",
    )


def _say_applied(plan: ConnectorPlan, report: DiscoveryReport) -> None:
    declaration = plan.declaration
    name = declaration.name
    schema = declaration.target_schema or name
    say(f"{name} is applied: {len(plan.entities)} entities, tables go to the schema {schema}.")
    say(f"Next: sync-pipelines connector test {name} && sync-pipelines sync {name}", "cyan")
    for slug in report.stopped:
        say(
            f"Next: sync-pipelines discover {name} --accept {slug}, or undo the change in the file",
            "cyan",
        )


def _show_usage(
    database: Database,
    settings: Settings,
    loaded: LoadedFile,
    gates: dict[Path, bytes],
    *,
    infer_again: bool,
    allow_private: bool,
    as_json: bool,
) -> tuple[Usage, Outbound]:
    """List what the file would use, and refuse what the settings forbid; nothing is asked and no secret is resolved."""
    declaration = loaded.declaration
    connector = as_connector(declaration)
    stored = next((one for one in list_connectors(database) if one.name == declaration.name), None)
    with database.connect() as connection:
        receivers = {
            hook.name: shown_address(hook.url)
            for hook in list_webhooks(connection, only_active=True)
        }
    usage = plan_usage(
        declaration, connector, stored, base_url_variable=loaded.base_url_variable,
        bound=settings.sources.bound_secrets, receivers=receivers, gates=gates.values(), infer_again=infer_again,
    )  # fmt: skip
    if not as_json:
        show_table(
            f"What {declaration.name} would use",
            ("what", "name", "why"),
            [(use.what, use.name, use.why) for use in usage.uses],
        )
    connector = replace(connector, agreed=stored.agreed if stored is not None else {})
    agreed = agree(connector, settings, allow_private=allow_private)
    return usage, from_agreement(agreed, declaration.name).with_settings(settings)


def _may_ask(usage: Usage, name: str, *, plan_only: bool, yes: bool, as_json: bool) -> bool:
    """Whether the source may be asked for the plan; a person is asked where one is there, and --yes agrees."""
    if yes and not as_json:
        say("--yes agrees to all of this; it is remembered with the connector.", stderr=True)
    if yes or usage.is_agreed or not usage.asks_source:
        return True
    if plan_only and (as_json or not sys.stdin.isatty()):
        return False
    if typer.confirm(
        f"The plan needs answers of {name}. Agree to these addresses and secrets, and ask?",
        err=True,
    ):
        return True
    raise SettingsError(
        "Not confirmed.", state="Nothing was asked or changed, and no secret was read."
    )


def _leave(needs_action: bool) -> None:
    if needs_action:
        raise typer.Exit(ACTION_REQUIRED)


def parse_inputs(pairs: list[str]) -> dict[str, str]:
    """`name=value` texts by name.

    Raises:
        SettingsError: no `=`; without the text, which may be a secret.
    """
    given: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise SettingsError("--set takes name=value.", state="Nothing was stored.")
        given[name.strip()] = value
    return given


def _show_plan(plan: ConnectorPlan, gates: Iterable[Path]) -> None:
    name = plan.declaration.name
    rows: list[tuple[str, str, str]] = [
        (name, "connector is new" if plan.is_new else "connector", "; ".join(plan.changes))
    ]
    rows += [
        (slug, "added", "columns from a sample" if slug in plan.inferred else "")
        for slug in plan.added
    ]
    rows += [(slug, "changed", why) for slug, why in plan.changed.items()]
    rows += [(slug, "needs a decision", why) for slug, why in plan.breaking.items()]
    rows += [(slug, "removed", "its table stays as it is") for slug in plan.removed]
    rows += [(slug, "unchanged", "") for slug in plan.unchanged]
    rows += [(slug, "left out", why) for slug, why in plan.invalid.items()]
    rows += [
        (path.name, "gate", f"is written to {path.parent}, and yours to change") for path in gates
    ]
    show_table(f"Plan for {name}", ("entity", "found", "why"), rows)
    for slug in [*plan.added, *plan.changed, *plan.breaking]:
        entity = plan.entities[slug]
        title = f"{name}/{slug}" + (
            ", columns inferred from a sample" if slug in plan.inferred else ""
        )
        columns = [
            (c.name, c.data_type, c.type.sql, c.is_nullable, c.is_business_key)
            for c in entity.columns[:SHOWN_COLUMNS]
        ]
        show_table(title, ("column", "declared", "in the table", "null", "key"), columns)


def _plan_json(plan: ConnectorPlan, gates: Iterable[Path]) -> dict[str, Any]:
    names = (
        "is_new",
        "changes",
        "added",
        "changed",
        "breaking",
        "removed",
        "unchanged",
        "invalid",
        "inferred",
    )
    entities = {
        slug: [column.as_json() for column in entity.columns]
        for slug, entity in plan.entities.items()
    }
    plan_data = {name: getattr(plan, name) for name in names}
    return {
        "connector": plan.declaration.name,
        **plan_data,
        "columns": entities,
        "gates": [str(path) for path in gates],
    }


def show_endpoints(connector: Connector) -> None:
    """The endpoints of a declared connector as a table."""
    declaration = Declaration.model_validate(connector.declaration)
    show_table(
        "Endpoints",
        ("entity", "path", "records", "pagination", "strategy", "cursor", "columns"),
        [
            (
                slug,
                one.path,
                one.records if isinstance(one.records, str) else " or ".join(one.records),
                one.pagination.type,
                str(one.delta_strategy),
                f"{one.cursor.param} > {one.cursor.field}" if one.cursor else None,
                len(one.columns or ()),
            )
            for slug, one in declaration.endpoints.items()
        ],
    )


def export_file(connector: Connector) -> str:
    """A declared connector as YAML.

    Raises:
        SettingsError: it is no declared one.
    """
    if connector.declaration is None:
        raise SettingsError(
            f"{connector.name} is an APISmith source; it describes itself and has no file.",
            state="",
            next_command=f"sync-pipelines connector show {connector.name}",
        )
    data = Declaration.model_validate(connector.declaration).as_json()
    if data.get("kind") == "openapi":
        # Its endpoints are fixed now; the document need not be asked again.
        data = {
            **{name: value for name, value in data.items() if name not in ("openapi", "overrides")},
            "kind": "rest",
        }
    # By known values only: in prose a word after "bearer" would pass for a token.
    return yaml.safe_dump(
        redact_data(data, redact_known), sort_keys=False, allow_unicode=True, width=120
    )
