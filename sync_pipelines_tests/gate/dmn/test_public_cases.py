"""The public test cases of DMN: see tck/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, parse

import pytest

from sync_pipelines.gate.dmn_file import read_table
from sync_pipelines_tests.gate.dmn.test_tables import ask

TCK = Path(__file__).parent / "tck"


@pytest.mark.parametrize("case", sorted(folder.name for folder in TCK.iterdir() if folder.is_dir()))
def test_the_public_cases_of_level_2_get_the_answers_they_expect(case: str) -> None:
    folder = TCK / case
    table = read_table(folder / f"{case}.dmn")
    asked = 0
    for one in [
        element
        for file in folder.glob("*-test-*.xml")
        for element in parse(file).getroot().iter()
        if _tag(element) == "testCase"
    ]:
        given = {child.get("name"): _value(child) for child in one if _tag(child) == "inputNode"}
        expected = next(
            _value(inner)
            for child in one
            if _tag(child) == "resultNode"
            for inner in child
            if _tag(inner) == "expected"
        )
        found = ask(table, *(given[name.name] for name in table.inputs))
        assert found == expected, one.get("id")
        asked += 1
    assert asked


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _value(element: Element) -> Any:
    children = list(element)
    components = {
        child.get("name"): _value(child) for child in children if _tag(child) == "component"
    }
    if components:
        return components
    for child in children:
        if _tag(child) == "list":
            return [_value(item) for item in child if _tag(item) == "item"]
        if _tag(child) in ("value", "expected"):
            nil = child.get("{http://www.w3.org/2001/XMLSchema-instance}nil") == "true"
            kind = (child.get("{http://www.w3.org/2001/XMLSchema-instance}type") or "").rpartition(
                ":"
            )[2]
            text = child.text or ""
            if nil:
                return None
            return (
                float(text)
                if kind in ("decimal", "double")
                else text == "true"
                if kind == "boolean"
                else text
            )
    return None
