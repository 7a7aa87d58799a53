"""Gates made of texts, and batches to judge."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

import sync_pipelines
from sync_pipelines.gate.contract import judge_batch
from sync_pipelines.gate.files import build_gate
from sync_pipelines.gate.judge import Gate, Verdicts
from sync_pipelines.gate.tally import Tally
from sync_pipelines.model.entity import Entity

SHIPPED = Path(sync_pipelines.__file__).parent / "connectors" / "gates"
_HEAD = '<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/" name="t" namespace="t">'


def write_gate(folder: Path, text: str, entity: Entity, **files: str) -> Path:
    """Put the YAML of an entity's gate, and files beside it, into a folder of gates."""
    path = folder / entity.connector / f"{entity.slug}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for name, content in files.items():
        (path.parent / name.replace("_dmn", ".dmn")).write_text(content)
    return path


def gate_of(folder: Path, text: str, entity: Entity, **files: str) -> Gate:
    """The gate of a YAML text."""
    return build_gate(write_gate(folder, text, entity, **files), entity)[0]


def batch_of(entity: Entity, *rows: tuple[Any, ...]) -> pa.Table:
    """Rows as a batch."""
    arrays = [
        pa.array([_exact(row[place], one.type.arrow) for row in rows], one.type.arrow)
        for place, one in enumerate(entity.columns)
    ]
    return pa.table(arrays, names=[f"c{place}" for place in range(len(arrays))])


def _exact(value: Any, arrow: pa.DataType) -> Any:
    return Decimal(str(value)) if pa.types.is_decimal(arrow) and value is not None else value


def judge(gate: Gate, *rows: tuple[Any, ...], tally: Tally | None = None) -> Verdicts:
    """Contract and gate over rows."""
    batch = batch_of(gate.entity, *rows)
    return gate.judge(
        batch, judge_batch(gate.entity, batch), tally if tally is not None else Tally()
    )


def levels(gate: Gate, *rows: tuple[Any, ...]) -> list[str]:
    """The verdict on each row."""
    verdicts = judge(gate, *rows)
    reviews = [None] * len(rows) if verdicts.reviews is None else verdicts.reviews.to_pylist()
    rejected = {violation.index for violation in verdicts.rejects}
    return [
        "reject" if place in rejected else "review" if reviews[place] else "pass"
        for place in range(len(rows))
    ]


def dmn(
    *rules: str,
    inputs: str = "score:number",
    outputs: str = "outcome",
    policy: str = "UNIQUE",
    values: str = "",
    default: str = "",
    aggregation: str = "",
) -> str:
    """A DMN document of one table; a rule is its cells separated by |, outputs last; inputs are name:type."""
    names = inputs.split()
    parts = [
        f'{_HEAD}<decision name="d"><decisionTable hitPolicy="{policy}"'
        + (f' aggregation="{aggregation}"' if aggregation else "")
        + ">"
    ]
    for one in names:
        name, _, kind = one.partition(":")
        parts.append(
            f'<input><inputExpression typeRef="{kind}"><text>{name}</text></inputExpression></input>'
        )
    for name in outputs.split():
        declared = f"<outputValues><text>{values}</text></outputValues>" if values else ""
        declared += (
            f"<defaultOutputEntry><text>{default}</text></defaultOutputEntry>" if default else ""
        )
        parts.append(f'<output name="{name}">{declared}</output>')
    for rule in rules:
        cells = [
            cell.strip().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            for cell in rule.split("|")
        ]
        tags = ["inputEntry"] * len(names) + ["outputEntry"] * (len(cells) - len(names))
        parts.append(
            "<rule>"
            + "".join(
                f"<{tag}><text>{cell}</text></{tag}>" for tag, cell in zip(tags, cells, strict=True)
            )
            + "</rule>"
        )
    return "".join([*parts, "</decisionTable></decision></definitions>"])
