"""A gate for the benchmark's records: five rules, a score and a decision table.

One record in a thousand is to be reviewed.
"""

from __future__ import annotations

from pathlib import Path

RULES = """
record_type: category
required: [item_number, description, category]
rules:
  - {name: some_left, column: quantity, check: ge, arguments: {min_value: 10}, severity: score, weight: 30}
  - {name: plausible_price, column: unit_price, check: in_range, weight: 20,
     arguments: {min_value: 0, max_value: 99999999999999.999}}
  - {name: described, column: description, check: str_length, severity: score, weight: 20,
     arguments: {min_value: 5, max_value: 100}}
  - {name: well_numbered, column: item_number, check: str_matches, arguments: {pattern: '^ITM-[0-9]{8}$'}, weight: 20}
  - {name: valid_since, severity: score, weight: 10,
     expression: valid_from <= CAST(modified_at AS DATE) OR is_active IS NOT NULL}
decision: {file: validation.dmn}
"""
_TABLE = """<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/" name="validation" namespace="validation">
  <decision name="validate"><decisionTable hitPolicy="UNIQUE">
    <input><inputExpression typeRef="string"><text>record_type</text></inputExpression></input>
    <input><inputExpression typeRef="number"><text>score</text></inputExpression></input>
    <input><inputExpression typeRef="boolean"><text>required_present</text></inputExpression></input>
    <output name="outcome"/>
    {rules}
  </decisionTable></decision>
</definitions>
"""
_CELLS = (
    ('not("forbidden")', "&gt;= 80", "true", '"VALID"'),
    ('not("forbidden")', "[50..80)", "true", '"WARNING"'),
    ("-", "&lt; 50", "true", '"INVALID"'),
    ('"forbidden"', "&gt;= 50", "true", '"INVALID"'),
    ("-", "-", "false", '"INVALID"'),
)


def write_gate(folder: Path, connector: str, slug: str) -> None:
    """Put the gate of an entity into a folder of gates."""
    rules = "".join(
        "<rule>"
        + "".join(f"<inputEntry><text>{cell}</text></inputEntry>" for cell in cells[:3])
        + f"<outputEntry><text>{cells[3]}</text></outputEntry></rule>"
        for cells in _CELLS
    )
    place = folder / connector
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{slug}.yaml").write_text(RULES)
    (place / "validation.dmn").write_text(_TABLE.format(rules=rules))
