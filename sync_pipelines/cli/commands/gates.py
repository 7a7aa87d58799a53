"""`sync-pipelines gate`: check and show gates, explain a verdict, try a changed gate on what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity, list_entities
from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.cli.commands.entities import PathArgument
from sync_pipelines.cli.shell.context import split_entity_path
from sync_pipelines.cli.shell.failures import ListingGroup
from sync_pipelines.cli.shell.output import (
    JsonOption,
    examples,
    print_json,
    say,
    show_fields,
    show_table,
)
from sync_pipelines.errors import GateDefinitionError, NotFoundError, SyncError
from sync_pipelines.gate.dmn.feel import number_or_value
from sync_pipelines.gate.explain import Explanation
from sync_pipelines.gate.files import build_gate, gate_path
from sync_pipelines.gate.judge import Gate
from sync_pipelines.gate.masks import open_masks
from sync_pipelines.gate.opened import OpenedGate
from sync_pipelines.gate.rules import load_rule_files
from sync_pipelines.model.entity import Entity
from sync_pipelines.runs.gate_report import explain_record, find_record, shadow
from sync_pipelines.runs.prepared_gate import forget_mask, prepare_gate
from sync_pipelines.settings import Settings

group = typer.Typer(
    cls=ListingGroup,
    help="The gates of the entities: rules, score, decision table, masks.",
    epilog=examples("gate check", "gate explain erp/items A00042"),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="gate")


@group.command(epilog=examples("gate check", "gate check --json"))
def check(context: typer.Context, as_json: JsonOption = False) -> None:
    """Validate every file of the gates.

    Lists what is wrong and what is doubtful. Exit code 3 when something is wrong.
    """
    settings = context.obj
    database = open_catalog(context.obj)
    found = _check_all(settings, database)
    if as_json:
        print_json(found)
    else:
        show_table(
            "Gates",
            ("file", "entity", "state", "what"),
            [tuple(one.values()) for one in found],
            empty=f"There is no gate in {settings.gates}.",
        )
    if any(one["state"] == "wrong" for one in found):
        raise typer.Exit(3)


def _check_all(settings: Settings, database: Database) -> list[dict[str, Any]]:
    folder = settings.gates
    entities = {entity.path: entity for entity in list_entities(database)}
    found: list[dict[str, Any]] = []

    def add(path: Path, entity: str | None, state: str, what: str) -> None:
        found.append({"file": str(path), "entity": entity, "state": state, "what": what})

    try:
        load_rule_files(folder)
    except GateDefinitionError as error:
        add(folder, None, "wrong", error.what)
    for path in sorted(folder.glob("*/*.y*ml")):
        name = f"{path.parent.name}/{path.stem}"
        if name not in entities or path.suffix != ".yaml":
            add(
                path,
                None,
                "wrong",
                f"no entity is called {name}."
                if path.suffix == ".yaml"
                else "files of gates end in .yaml.",
            )
            continue
        try:
            gate, findings = build_gate(path, entities[name])
            open_masks(gate.definition, entities[name])
        except SyncError as error:
            add(path, name, "wrong", error.what)
            continue
        add(
            path,
            name,
            "doubtful" if findings else "good",
            "; ".join(map(str, findings)) or _summary(gate),
        )
    return found


def _summary(gate: Gate) -> str:
    table = (
        f", table {gate.decision.table.policy} of {len(gate.decision.levels)} rules"
        if gate.decision
        else ""
    )
    required, masks = gate.definition.required, gate.definition.masks
    return f"{len(gate.rules)} rules, {len(required)} required{table}, {len(masks)} masks"


@group.command(epilog=examples("gate show erp/items", "gate show erp/items --json"))
def show(context: typer.Context, path: PathArgument, as_json: JsonOption = False) -> None:
    """Show the gate of an entity as it is understood."""
    entity, opened = _opened(context.obj, open_catalog(context.obj), path)
    gate = opened.gate
    if as_json:
        print_json(
            {
                "entity": entity.path,
                "file": str(gate_path(context.obj.gates, entity)),
                **gate.definition.model_dump(mode="json"),
            }
        )
        return
    show_fields(
        f"Gate of {entity.path}",
        {
            "file": str(gate_path(context.obj.gates, entity)),
            "required": ", ".join(gate.definition.required) or None,
            "masks": ", ".join(
                f"{name}: {mask.partition(':')[0]}" for name, mask in opened.fingerprints.items()
            )
            or None,
        },
    )
    show_table(
        "Rules",
        ("rule", "asks for", "severity", "weight"),
        [(one.rule.name, one.words, one.rule.severity, one.rule.weight) for one in gate.rules],
        empty="It has no rules.",
    )
    if gate.decision is not None:
        table = gate.decision.table
        show_table(
            f"{gate.decision.file}, {table.policy}",
            (
                "rule",
                *(one.name for one in table.inputs),
                *(one.name for one in table.outputs),
                "note",
            ),
            [
                (
                    number,
                    *(test.text.strip() or "-" for test in rule.tests),
                    *map(number_or_value, rule.outputs),
                    rule.annotation,
                )
                for number, rule in enumerate(table.rules, 1)
            ],
        )


@group.command(
    "explain",
    epilog=examples(
        "gate explain erp/items A00042",
        "gate explain erp/items 0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f --json",
    ),
)
def explain_(
    context: typer.Context,
    path: PathArgument,
    key: Annotated[
        str,
        typer.Argument(help="Business key, parts separated by /, or uid of a quarantined record."),
    ],
    as_json: JsonOption = False,
) -> None:
    """Say why a record got its verdict, and what would let it pass."""
    database = open_catalog(context.obj)
    entity, opened = _opened(context.obj, database, path)
    place, found = find_record(database, opened.stored_entity, key)
    explanation = explain_record(opened, place, found)
    if isinstance(explanation, str):
        if as_json:
            print_json({"where": place, "verdict": "reject", "reason": explanation})
        else:
            say(f"It is in quarantine and does not get as far as the rules: {explanation}")
        return
    refused_for = found.get("reason")
    if as_json:
        print_json({"where": place, "refused_for": refused_for, **vars(explanation)})
        return
    show_fields(f"{entity.path} {key}", _explained(explanation, place, refused_for))
    _show_rules(explanation.rules)


def _explained(explanation: Explanation, place: str, refused_for: str | None) -> dict[str, Any]:
    """The verdict of a record and what would change it, as lines of a list."""
    fields: dict[str, Any] = {"found in": place}
    if refused_for is not None:
        fields["refused for"] = refused_for
    fields["verdict now"] = explanation.verdict
    if explanation.reason:
        fields["because"] = explanation.reason
    if explanation.score is not None:
        fields["score"] = explanation.score
    if explanation.table is not None:
        fields[explanation.table] = (
            f"rule {explanation.chosen}" if explanation.chosen else "no rule"
        )
    if explanation.missing:
        fields["missing"] = ", ".join(explanation.missing)
    if explanation.remedies:
        fields["it would pass with"] = "; or ".join(
            " and ".join(names) for names in explanation.remedies
        )
    if explanation.cells:
        fields["it would pass if"] = "; or ".join(explanation.cells)
    return fields


def _show_rules(rules: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for one in rules:
        passed = "masked" if one["passed"] is None else one["passed"]
        rows.append((one["name"], one["asks"], one["severity"], one["weight"], passed))
    show_table("Rules", ("rule", "asks for", "severity", "weight", "passed"), rows)
    if any(one["passed"] is None for one in rules):
        say(
            "Rules over masked values were judged when the record came; here they count as passed.",
            "yellow",
        )


@group.command(
    "shadow",
    epilog=examples(
        "gate shadow erp/items --file new.yaml", "gate shadow erp/items --file new.yaml --json"
    ),
)
def shadow_(
    context: typer.Context,
    path: PathArgument,
    file: Annotated[
        Path,
        typer.Option(
            exists=True, dir_okay=False, help="The changed gate; its decision table is beside it."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Show what a changed gate would do to the rows that are there and to quarantine; nothing is changed."""
    database = open_catalog(context.obj)
    connector, slug = split_entity_path(path)
    entity = get_entity(database, connector, slug)
    load_rule_files(context.obj.gates)
    gate, findings = build_gate(file, entity)
    report = shadow(database, entity, OpenedGate(entity, gate, open_masks(gate.definition, entity)))
    if as_json:
        print_json({**report.as_dict(), "findings": [str(finding) for finding in findings]})
        return
    show_table(
        f"{entity.path}: {report.records:,} records before {file.name}",
        ("now", "then", "records"),
        [(now, then, count) for (now, then), count in sorted(report.moved.items())],
        right=("records",),
        empty="There is no record.",
    )
    show_table(
        "Rules that fail",
        ("rule", "records"),
        sorted(report.failed.items()),
        right=("records",),
        empty="No rule fails.",
    )
    if report.examples:
        show_table(
            "Examples of records that change",
            ("key", "now", "then", "reason"),
            [tuple(one.values()) for one in report.examples],
        )
    for finding in findings:
        say(str(finding), "yellow")


@group.command(
    epilog=examples("gate unmask erp/items contact_email", "gate unmask erp/items notes --yes")
)
def unmask(
    context: typer.Context,
    path: PathArgument,
    column: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Agree that a column that was masked is stored in clear from now on; the next sync reads everything again."""
    database = open_catalog(context.obj)
    connector, slug = split_entity_path(path)
    entity = get_entity(database, connector, slug)
    if not yes:
        typer.confirm(f"Store {column} of {entity.path} in clear?", abort=True)
    forget_mask(database, entity, column)
    say(f"{column} of {entity.path} is stored in clear by the next sync.")


def _opened(settings: Settings, database: Database, path: str) -> tuple[Entity, OpenedGate]:
    connector, slug = split_entity_path(path)
    entity = get_entity(database, connector, slug)
    opened = prepare_gate(database, settings, entity)
    if opened is None:
        raise NotFoundError(
            f"{entity.path} has no gate.",
            state="",
            next_command=f"write {gate_path(settings.gates, entity)}, then sync-pipelines gate check",
        )
    return entity, opened
