"""The folders of the product, and the arrows between them, are as docs/architecture.md draws them."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import sync_pipelines

PACKAGE = Path(sync_pipelines.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text()
# Used by every folder, so that they stand below all of them; settings know names of networks and limits of the model.
BASE = {"errors", "secrets", "dotenv_file", "settings", "logs"}
# A connection is checked against what the settings allow, and the settings parse such texts.
# The types meet nowhere else.
BOTH_WAYS_BY_TYPE = {("network", "settings")}
USED_ONCE = ("destination.py", "files.py", "gates.py", "plan.py", "session.py", "source.py")


class Arrow(NamedTuple):
    """One import: module, imported module, and whether only a type checker sees it."""

    importer: str
    imported: str
    for_types: bool


def _modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = _modules()


def _folder(module: str) -> str:
    path = MODULES[module].relative_to(PACKAGE)
    return path.parent.as_posix() if path.parent != Path(".") else module


def _arrows() -> Iterator[Arrow]:
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        for_types = {
            node
            for branch in ast.walk(tree)
            if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
            for node in ast.walk(branch)
        }
        for node in ast.walk(tree):
            for imported in _imported(node):
                yield Arrow(module, imported, node in for_types)


def _imported(node: ast.AST) -> Iterator[str]:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module is not None:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
        inner = name.removeprefix("sync_pipelines.")
        if inner == name:
            continue
        yield inner if inner in MODULES else inner.rpartition(".")[0]


ARROWS = sorted(set(_arrows()))
ROWS = re.findall(r"^\| `([a-z_/]+)/` \|", PAGE, re.MULTILINE)


def _room(module: str) -> str | None:
    """The row of the table that a module belongs to; None for what all folders use and for the entry points."""
    folder = _folder(module)
    candidates = [row for row in ROWS if folder == row or folder.startswith(row + "/")]
    return max(candidates, key=len, default=None)


def test_every_folder_of_the_product_is_on_the_page() -> None:
    folders = {_folder(module) for module in MODULES if MODULES[module].parent != PACKAGE}
    without = {folder for folder in folders if _room(f"{folder.replace('/', '.')}") is None} - {
        "cli"
    }
    assert not without


def test_every_folder_on_the_page_is_there() -> None:
    assert len(ROWS) == len(set(ROWS)) > 15
    assert [row for row in ROWS if not (PACKAGE / row / "__init__.py").is_file()] == []


def test_a_folder_imports_only_what_is_above_it_in_the_table() -> None:
    floors = {row: floor for floor, row in enumerate(ROWS)}
    against = [
        f"{arrow.importer} imports {arrow.imported}"
        for arrow in ARROWS
        if (importer := _room(arrow.importer)) and (imported := _room(arrow.imported))
        if floors[imported] > floors[importer]
    ]
    assert against == []


def test_no_two_folders_import_each_other() -> None:
    pairs = {
        (_folder(arrow.importer), _folder(arrow.imported))
        for arrow in ARROWS
        if _folder(arrow.importer) != _folder(arrow.imported)
    }
    mutual = {tuple(sorted(pair)) for pair in pairs if pair[::-1] in pairs}
    assert mutual - BOTH_WAYS_BY_TYPE == set()


def test_folders_that_meet_both_ways_do_so_for_a_type_checker_only() -> None:
    upwards = [
        arrow
        for arrow in ARROWS
        if _folder(arrow.importer) == "network" and arrow.imported == "settings"
    ]
    assert upwards and all(arrow.for_types for arrow in upwards)


def test_what_all_folders_use_imports_no_folder_above_the_files() -> None:
    below = {"model", "network", "files"}
    used = {_room(arrow.imported) for arrow in ARROWS if arrow.importer in BASE}
    assert used - below <= {None}


@pytest.mark.parametrize("name", USED_ONCE)
def test_a_descriptive_module_name_is_used_once(name: str) -> None:
    assert Counter(path.name for path in MODULES.values())[name] <= 1


def test_every_place_of_a_change_is_there() -> None:
    table = PAGE.split("## Where do I change")[1]
    places = [
        place
        for line in table.splitlines()
        if line.startswith("| ")
        for place in re.findall(r"`([^`]+)`", line)
    ]
    paths = [place for place in places if "/" in place or place.endswith(".py")]
    known = [PACKAGE, PACKAGE.parent]
    assert len(paths) > 25
    assert [place for place in paths if not any((root / place).exists() for root in known)] == []
    assert table.count("\n| ") - 1 >= 20


def _unexplained_imports(module: str) -> Iterator[str]:
    """Imports inside of functions without a comment on their line or above their block."""
    text = MODULES[module].read_text()
    lines = text.splitlines()
    functions = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    imports = {
        node.lineno: node
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    ends = {node.end_lineno for node in imports.values()}
    explained: set[int | None] = set()
    for number, node in sorted(imports.items()):
        above = lines[number - 2].strip()
        continues = number - 1 in ends and number - 1 in explained
        if "#" in lines[number - 1] or above.startswith("#") or continues:
            explained.add(node.end_lineno)
        else:
            yield f"{module}:{number}: {lines[number - 1].strip()}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_an_import_inside_a_function_has_its_reason_above_it(module: str) -> None:
    assert list(_unexplained_imports(module)) == []
