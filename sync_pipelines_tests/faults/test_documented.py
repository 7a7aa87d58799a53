"""docs/faults.md names every fault and every test of the campaign, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

FOLDER = Path(__file__).parent
DOCUMENT = FOLDER.parents[1] / "docs" / "faults.md"
WITHOUT_TEST = {35, 44}


def campaign() -> set[tuple[str, str]]:
    """(file, function) of every test of a fault."""
    return {
        (path.name, node.name)
        for path in FOLDER.glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_fault_")
    }


def test_every_fault_has_its_row_and_every_test_is_named_in_its_own() -> None:
    table = DOCUMENT.read_text().partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", table, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 45))
    named = set()
    for number, text in rows:
        links = re.findall(
            r"\[(test_\w+)\]\(\.\./sync_pipelines_tests/faults/(test_\w+\.py)\)", text
        )
        assert len(links) == (int(number) not in WITHOUT_TEST), f"fault {number}"
        named |= {
            (file, test)
            for test, file in links
            if test.startswith(f"test_fault_{int(number):02d}_")
        }
        assert "](../sync_pipelines_tests/" in text or "Left" in text, (
            f"fault {number} has neither a test nor a reason"
        )
    assert named == campaign()
