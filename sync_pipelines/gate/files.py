"""Gates made of files: `<folder>/<connector>/<entity>.yaml` with its decision tables beside it."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from polars import Expr

from sync_pipelines.files.safe_yaml import Location
from sync_pipelines.gate.compiled import compile_rule
from sync_pipelines.gate.decision import DecisionUse
from sync_pipelines.gate.definition import Decision, GateFile, read_gate_file
from sync_pipelines.gate.dmn.coverage import POLARS, Finding, examine
from sync_pipelines.gate.dmn.feel import Kind as FeelKind
from sync_pipelines.gate.dmn.table import DecisionTable, HitPolicy, Input
from sync_pipelines.gate.dmn_file import read_table
from sync_pipelines.gate.document import Document, definition_fault, nearest
from sync_pipelines.gate.judge import Gate
from sync_pipelines.gate.levels import LEVELS, PASS, REJECT
from sync_pipelines.gate.masks import check_masks
from sync_pipelines.gate.rules import load_rule_files
from sync_pipelines.gate.sql_expression import compile_sql
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.types import INTEGER_BITS, Kind

_FACTS = {
    "record_type": "_record_type",
    "score": "_score",
    "required_present": "_required",
    "failed_rules": "_failed",
}
_ALIASES = {
    "quality_score": "score",
    "required_fields": "required_present",
    "required_fields_present": "required_present",
}
_FACT_KINDS: dict[str, FeelKind] = {
    "record_type": "string",
    "score": "number",
    "required_present": "boolean",
    "failed_rules": "number",
}
_VERDICTS = {
    "valid": "pass",
    "pass": "pass",
    "warning": "review",
    "review": "review",
    "invalid": "reject",
    "reject": "reject",
}

_SEPARATORS = re.compile(r"[^a-z0-9]+")

_cache: dict[Path, tuple[Any, Gate]] = {}
_lock = threading.Lock()


def gate_path(folder: Path, entity: Entity) -> Path:
    """The file of an entity's gate, which may not exist."""
    return folder / entity.connector / f"{entity.slug}.yaml"


def load_gate(folder: Path, entity: Entity) -> Gate | None:
    """The gate of an entity; None when it has no file. Read again only when a file or the entity's columns changed.

    Raises:
        GateDefinitionError: a file is wrong; the entity is not synced without its rules and masks.
    """
    path = gate_path(folder, entity)
    if not path.exists():
        return None
    with _lock:
        known = _cache.get(path)
    if known is None:
        return _load(folder, path, entity)
    stamp, gate = known
    are_files_same = stamp == _stamp(folder, path, gate.definition)
    if are_files_same and gate.entity.code_version == entity.code_version:
        return gate
    return _load(folder, path, entity)


def _load(folder: Path, path: Path, entity: Entity) -> Gate:
    load_rule_files(folder)
    # Looked at before the files are read for good: what changes meanwhile is read again.
    definition, _ = read_gate_file(path)
    stamp = _stamp(folder, path, definition)
    gate, _ = build_gate(path, entity)
    with _lock:
        _cache[path] = (stamp, gate)
    return gate


def _stamp(
    folder: Path,
    path: Path,
    definition: GateFile,
) -> tuple[Any, ...]:
    """Path, time and size of a gate's files (its own, its table, the rules in Python): they differ after a change."""
    files = [path]
    if definition.decision is not None:
        files.append(path.parent / definition.decision.file)
    files += sorted(folder.glob("*.py"))
    stamps = []
    for file in files:
        if file.exists():
            status = file.stat()
            stamps.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(stamps)


def build_gate(path: Path, entity: Entity) -> tuple[Gate, list[Finding]]:
    """A gate from its file, with what is doubtful but no error in its decision table.

    Raises:
        GateDefinitionError: names file, line, key and the nearest valid name.
    """
    definition, document = read_gate_file(path)
    known = [column.name for column in entity.columns]
    for index, name in enumerate(definition.required):
        if name not in known:
            what = f"{entity.path} has no column {name!r}.{nearest(name, known)}"
            raise document.fault(what, ("required", index))
    check_masks(document, definition, entity)
    rules = []
    for index, rule in enumerate(definition.rules):
        rules.append(compile_rule(document, index, rule, entity))
    _check_score(document, definition)
    record_type = _record_type(document, definition, entity)
    gate = Gate(
        entity,
        definition,
        tuple(rules),
        record_type,
        decision=None,
    )
    if definition.decision is None:
        return gate, []
    decision, findings = _decision(
        document,
        definition,
        definition.decision,
        entity,
    )
    return replace(gate, decision=decision), findings


def _record_type(
    document: Document,
    definition: GateFile,
    entity: Entity,
) -> Expr | None:
    """The expression of a record's type, which only a decision table asks for."""
    if definition.record_type is None:
        return None
    location = ("record_type",)
    if definition.decision is None:
        what = "only a decision uses the record type, and there is none."
        raise document.fault(what, location)
    return compile_sql(
        document,
        location,
        definition.record_type,
        entity,
        wanted=None,
        may_be_constant=True,
    )


def _check_score(document: Document, definition: GateFile) -> None:
    """Refuse rules that count for a score which nothing uses, and thresholds that contradict each other."""
    for index, rule in enumerate(definition.rules):
        if rule.severity != "score":
            continue
        if not rule.weight:
            raise document.fault(
                "a rule that only counts for the score needs a weight above 0.",
                ("rules", index, "weight"),
            )
        if definition.score is None and definition.decision is None:
            raise document.fault(
                "nothing uses the score: there is neither score nor decision.",
                ("rules", index, "severity"),
            )
    score = definition.score
    if score is not None and score.review_below and score.review_below < score.reject_below:
        raise document.fault("review_below is lower than reject_below.", ("score", "review_below"))


def _decision(
    document: Document,
    definition: GateFile,
    used: Decision,
    entity: Entity,
) -> tuple[DecisionUse, list[Finding]]:
    path = document.path.parent / used.file
    untyped = read_table(path, used.decision)
    inputs = []
    for one in untyped.inputs:
        given = used.inputs.get(one.name, one.name)
        inputs.append(_typed(one, given, entity))
    table = replace(untyped, inputs=tuple(inputs))
    findings = examine(table)
    for finding in findings:
        if finding.is_error:
            raise definition_fault(path, None, f"{table.name}: {finding}")
    _check_use(document, definition, used, table)
    sources, facts = _sources(document, definition, used, table, entity)
    levels, default = _levels(document, used, table)
    decision = DecisionUse(
        table,
        sources,
        levels,
        default_level=default,
        file=used.file,
        uses_required="required_present" in facts,
    )
    return decision, findings


def _check_use(
    document: Document,
    definition: GateFile,
    used: Decision,
    table: DecisionTable,
) -> None:
    """Refuse a use of the table that contradicts it."""
    if table.aggregation is None and definition.score is not None:
        raise document.fault(
            "the decision table judges, so thresholds of the score are not used.",
            ("score",),
        )
    if table.aggregation is not None and definition.score is None:
        raise document.fault(
            f"the table gives a number ({table.aggregation}), so score must say from where on it is reviewed or"
            " rejected.",
            ("decision",),
        )
    inputs = [one.name for one in table.inputs]
    for name in used.inputs:
        if name not in inputs:
            what = f"{used.file} has no input {name!r}.{nearest(name, inputs)}"
            raise document.fault(what, ("decision", "inputs", name))


def _sources(
    document: Document,
    definition: GateFile,
    used: Decision,
    table: DecisionTable,
    entity: Entity,
) -> tuple[tuple[Expr, ...], set[str | None]]:
    """What each input of the table reads, and the facts of the gate among them."""
    sources: list[Expr] = []
    facts: set[str | None] = set()
    for one in table.inputs:
        given = used.inputs.get(one.name, one.name)
        location: Location = ("decision",)
        if one.name in used.inputs:
            location = ("decision", "inputs", one.name)
        source, fact = _source(document, location, given, one.kind, entity)
        if fact == "record_type" and definition.record_type is None:
            raise document.fault(
                f"{used.file} asks for the record type, so record_type must say what it is.",
                location,
            )
        if fact == "required_present" and not definition.required:
            raise document.fault(
                f"{used.file} asks for the required fields, so required must name them.",
                location,
            )
        sources.append(source)
        facts.add(fact)
    return tuple(sources), facts


def _source(
    document: Document,
    location: Location,
    given: str,
    wanted: FeelKind,
    entity: Entity,
) -> tuple[Expr, str | None]:
    columns = {column.name: column for column in entity.columns}
    if given in columns:
        column = columns[given]
        if _feel_kind(column.type.kind) != wanted:
            raise document.fault(
                f"the table compares {given!r} with a {wanted}, but the column is {column.data_type}.",
                location,
            )
        source = pl.col(given).cast(POLARS[wanted])
        return source, None
    name = _SEPARATORS.sub("_", given.lower()).strip("_")
    fact = _ALIASES.get(name, name)
    if fact not in _FACTS:
        hint = nearest(given, [*columns, *_FACTS])
        raise document.fault(
            f"{given!r} is neither a column nor one of {', '.join(_FACTS)}.{hint}",
            location,
        )
    if _FACT_KINDS[fact] != wanted:
        raise document.fault(
            f"the table compares {given!r} with a {wanted}, but it is a {_FACT_KINDS[fact]}.",
            location,
        )
    return pl.col(_FACTS[fact]), fact


# The doubles that a table is proven with do not resolve finer steps.
_PROVABLE_SCALE = 9


def _typed(one: Input, given: str, entity: Entity) -> Input:
    """An input with what its column's type can hold, so that the proof is over values that there are."""
    types = {column.name: column.type for column in entity.columns}
    if given not in types:
        return one
    declared = types[given]
    if one.kind == "string" and declared.length:
        return replace(one, longest=declared.length)
    if one.kind != "number":
        return one
    if declared.kind in INTEGER_BITS:
        return replace(one, step=1.0)
    scale = declared.scale or 0
    is_exact = declared.kind is Kind.NUMERIC and declared.precision is not None
    if is_exact and scale <= _PROVABLE_SCALE:
        return replace(one, step=10.0**-scale)
    return one


def _feel_kind(kind: Kind) -> FeelKind:
    match kind:
        case Kind.SMALLINT | Kind.INTEGER | Kind.BIGINT:
            return "number"
        case Kind.NUMERIC | Kind.REAL | Kind.DOUBLE:
            return "number"
        case Kind.BOOLEAN:
            return "boolean"
        case Kind.DATE | Kind.TIMESTAMP | Kind.TIMESTAMPTZ:
            return "date"
    return "string"


def _levels(
    document: Document,
    used: Decision,
    table: DecisionTable,
) -> tuple[tuple[int, ...], int]:
    if table.aggregation is not None:
        # The thresholds of the score judge.
        return (REJECT,) * len(table.rules), REJECT
    place = _verdict_place(document, used, table)
    output = table.outputs[place]
    answers = [rule.outputs[place] for rule in table.rules]
    possible = {str(answer) for answer in (*answers, *output.values)}
    if table.has_default:
        possible.add(str(output.default))
    for answer in used.verdicts:
        if answer not in possible:
            what = f"{used.file} never answers {answer!r}.{nearest(answer, possible)}"
            raise document.fault(what, ("decision", "verdicts", answer))
    if table.has_default:
        default = _level(document, used, output.default)
    elif table.policy is HitPolicy.COLLECT:
        default = PASS
    else:
        default = REJECT
    levels = [_level(document, used, answer) for answer in answers]
    return tuple(levels), default


def _level(
    document: Document,
    used: Decision,
    answer: Any,
) -> int:
    text = str(answer)
    verdict = used.verdicts.get(text) or _VERDICTS.get(text.lower())
    if verdict is None:
        raise document.fault(
            f"verdicts must say what the answer {answer!r} means: pass, review or reject.",
            ("decision", "verdicts"),
        )
    return LEVELS[verdict]


def _verdict_place(
    document: Document,
    used: Decision,
    table: DecisionTable,
) -> int:
    """Which output of the table has the verdict."""
    names = [output.name for output in table.outputs]
    if used.output is None:
        if len(names) > 1:
            raise document.fault(
                f"{used.file} has several outputs; output must name the one with the verdict: {', '.join(names)}.",
                ("decision",),
            )
        return 0
    if used.output not in names:
        hint = nearest(used.output, names)
        what = f"{used.file} has no output {used.output!r}.{hint}"
        raise document.fault(what, ("decision", "output"))
    return names.index(used.output)
