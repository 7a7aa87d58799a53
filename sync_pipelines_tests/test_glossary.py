"""docs/glossary.md names each word once, and names only tables and types that exist."""

from __future__ import annotations

import re
from pathlib import Path

import sync_pipelines

PROJECT = Path(__file__).parents[1]
PACKAGE = Path(sync_pipelines.__file__).parent
PAGE = (PROJECT / "docs" / "glossary.md").read_text()
SOURCES = "\n".join(path.read_text() for path in sorted(PACKAGE.rglob("*.py")))
WORDS = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", PAGE, re.MULTILINE)


def test_every_word_has_one_line():
    words = [word for word, _ in WORDS if word not in ("word", "---")]
    assert len(words) > 50
    assert len(set(words)) == len(words)


def test_tables_of_the_glossary_exist():
    tables = set(re.findall(r"`bridge\.(\w+)`", PAGE))
    assert tables
    created = set(re.findall(r"CREATE (?:UNLOGGED )?TABLE (\w+)", SOURCES))
    assert tables <= created


def test_types_of_the_glossary_exist():
    types = set(re.findall(r"`([A-Z][a-z]\w+)`", PAGE))
    assert types
    assert types <= set(re.findall(r"^class (\w+)", SOURCES, re.MULTILINE))


def test_the_glossary_is_linked_where_people_start():
    for name in ("README.md", "CONTRIBUTING.md"):
        assert "docs/glossary.md" in (PROJECT / name).read_text(), name
