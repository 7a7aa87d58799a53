"""A wrong gate file is refused with its place; it costs little, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sync_pipelines.errors import GateDefinitionError
from sync_pipelines.gate.files import build_gate
from sync_pipelines_tests.gate.helpers import write_gate
from sync_pipelines_tests.gate.test_rules import ENTITY

WRONG = {
    "an unknown key": ("rulez: []", "1: rulez: there is no such key. Did you mean 'rules'?"),
    "an unknown key of a rule": (
        "rules:\n- name: a\n  colum: stock\n  check: gt",
        "3: rules.0.colum: there is no such key. Did you mean 'column'?",
    ),
    "an unknown column": (
        "rules:\n- name: a\n  column: stok\n  check: gt",
        "3: rules.0.column: erp/items has no column 'stok'. Did you mean 'stock'?",
    ),
    "an unknown check": (
        "rules:\n- name: a\n  column: stock\n  check: in_rang",
        "4: rules.0.check: pandera has no check 'in_rang' for records. Did you mean 'in_range'?",
    ),
    "a check of whole columns": (
        "rules:\n- {name: a, column: stock, check: unique_values_eq}",
        "speaks of a whole column",
    ),
    "an unknown argument": (
        "rules:\n- name: a\n  column: stock\n  check: gt\n  arguments:\n    min_valu: 1",
        "6: rules.0.arguments.min_valu: gt takes no 'min_valu'. Did you mean 'min_value'?",
    ),
    "an argument of another type": (
        "rules:\n- name: a\n  column: stock\n  check: gt\n  arguments: {min_value: x}",
        "5: rules.0.arguments: gt(min_value=x) does not go with stock (BIGINT)",
    ),
    "a missing argument": (
        "rules:\n- {name: a, column: stock, check: gt}",
        "does not go with stock",
    ),
    "an unknown severity": (
        "rules:\n- {name: a, column: stock, check: gt, severity: rejct}",
        "'rejct' is not one of reject, review, score. Did you mean 'reject'?",
    ),
    "an unknown function": (
        "rules:\n- {name: a, column: stock, function: is_multiple_off}",
        "Did you mean 'is_multiple_of'?",
    ),
    "a function called wrongly": (
        "rules:\n- {name: a, column: stock, function: is_multiple_of, arguments: {fctor: 3}}",
        "is_multiple_of(value: 'pl.Expr', factor: 'int') -> 'pl.Expr' failed: TypeError",
    ),
    "two kinds at once": (
        "rules:\n- {name: a, column: stock, check: gt, expression: stock > 1}",
        "exactly one of check, function and expression",
    ),
    "an expression that is none": (
        "rules:\n- {name: a, expression: stock >}",
        "it is no SQL expression",
    ),
    "an expression with a typing error": (
        "rules:\n- {name: a, expression: stokk > 1}",
        "no column 'stokk'. Did you mean 'stock'?",
    ),
    "an expression over several records": (
        "rules:\n- {name: a, expression: stock > sum(stock)}",
        "a single record's columns",
    ),
    "an expression that reads files": (
        'rules:\n- {name: a, expression: "stock > (select 1)"}',
        "2: rules.0.expression: it cannot be evaluated",
    ),
    "an expression that is no condition": (
        "rules:\n- {name: a, expression: stock + 1}",
        "where Boolean is needed",
    ),
    "the same name twice": (
        "rules:\n- {name: a, expression: stock > 1}\n- {name: a, expression: stock > 2}",
        "3: rules.1.name",
    ),
    "a score that nothing uses": (
        "rules:\n- {name: a, expression: stock > 1, severity: score}",
        "nothing uses the score",
    ),
    "thresholds the wrong way round": (
        "score: {reject_below: 50, review_below: 40}",
        "1: score.review_below: review_below is lower",
    ),
    "a required column that is not there": (
        "required: [nam]",
        "required.0: erp/items has no column 'nam'. Did you mean 'name'?",
    ),
    "a mask that is none": (
        "masks: {name: hide}",
        "1: masks.name: a mask is redact, drop, or {hash: env:NAME}.",
    ),
    "a mask with its key in the file": (
        "masks:\n  name: {hash: verysecretvalue}",
        "masks.name: the key is given as a reference, env:NAME",
    ),
    "a mask of an unknown column": (
        "masks: {nme: redact}",
        "no column 'nme'. Did you mean 'name'?",
    ),
    "a redacted key": (
        "masks: {id: redact}",
        "'id' is a business key: it may be hashed, but not redacted",
    ),
    "a dropped key": (
        "masks: {id: drop}",
        "'id' is a business key: it may be hashed, but not dropped",
    ),
    "a list": ("- a", "it must hold keys"),
    "nothing": ("", "it must hold keys"),
    "a broken file": ("rules: [", "1: "),
    "a key twice": ("required: [name]\nrequired: [stock]", "2: the key 'required' is there twice."),
    "a Python tag": ("rules: !!python/object/apply:os.system [id]", "1: tags are not allowed"),
    "an alias": ("a: &a [x]\nb: *a", "1: anchors (&) and aliases (*) are not allowed."),
    "a bomb of depth": ("a: " + "[" * 50 + "]" * 50, "nested deeper than 30"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_named_by_file_line_key_and_nearest_name(tmp_path: Path, case: str) -> None:
    text, expected = WRONG[case]
    path = write_gate(tmp_path, text, ENTITY)
    with pytest.raises(GateDefinitionError) as caught:
        build_gate(path, ENTITY)
    assert f"{path}" in caught.value.what
    assert expected in caught.value.what
    assert "verysecretvalue" not in str(caught.value)


def test_a_file_beyond_a_megabyte_is_not_read(tmp_path: Path) -> None:
    path = write_gate(tmp_path, "#" * 1_000_001, ENTITY)
    with pytest.raises(GateDefinitionError, match="larger than 1000000 bytes"):
        build_gate(path, ENTITY)


def test_a_billion_laughs_cost_nothing(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)
    ]
    with pytest.raises(GateDefinitionError, match="anchors"):
        build_gate(write_gate(tmp_path, "\n".join(lines), ENTITY), ENTITY)
