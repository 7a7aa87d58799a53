"""Text that becomes Markdown, read back by another reader of Markdown: it stays the text it was."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from sync_pipelines.orchestrate.markdown import (
    MAX_PARAGRAPHS,
    markdown_code,
    markdown_list,
    markdown_paragraphs,
    markdown_table,
    markdown_text,
)
from sync_pipelines_tests.orchestrate.test_browser import HOSTILE

ORCHESTRATE = Path(__file__).parents[2] / "sync_pipelines" / "orchestrate"
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# What Dagster's renderer makes links of in text, after escapes are resolved.
AUTOLINKS = (
    re.compile(r"(https?://|www(?=\.))([-.\w]+)", re.IGNORECASE),
    re.compile(r"([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)"),
)
PIECES = st.sampled_from(
    [
        *"\\`*_[]()<>#+-.!|~&:/@\"'=${}^ \n\t\r0a1)",
        "www.",
        "http://",
        "![x](",
        "&lt;",
        "&#33;",
        "```",
        "~~~",
        "---",
        "\n\n",
        "    ",
        "<b>",
        "|--|",
        "x@y.z",
        "javascript:",
        "\u2028",
        "\x00",
        "\u200b",
        "é",
        "1. ",
    ]
)


def inline(tokens: list[Token]) -> list[Token]:
    return [child for token in tokens for child in token.children or []]


def shown(tokens: list[Token]) -> str:
    return "".join(token.content for token in inline(tokens))


@given(st.lists(PIECES, max_size=14).map("".join))
@example("a``b`c http://x`|y")
@example("-\n-")
@example("1) a")
def test_any_text_is_one_paragraph_of_that_text(text: str) -> None:
    tokens = READER.parse(markdown_text(text))
    assert [token.type for token in tokens] in ([], ["paragraph_open", "inline", "paragraph_close"])
    assert {token.type for token in inline(tokens)} <= {"text", "code_inline"}
    for token in inline(tokens):
        if token.type == "text":
            assert not any(link.search(token.content) for link in AUTOLINKS)
    escaped = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in " ".join(text.split())
    )
    assert shown(tokens).replace("%60", "`").replace("%7C", "|") == escaped


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_does_not_leave_its_place(text: str) -> None:
    kinds = [token.type for token in READER.parse(markdown_list([text, text]).value)]
    assert kinds.count("list_item_open") == kinds.count("inline") == 2
    table = READER.parse(markdown_table(("rule", "records"), [(text, 1), ("plain", 2)], text).value)
    assert [token.type for token in table].count("td_open") == 4
    assert [token.type for token in table].count("paragraph_open") == 1
    [code] = READER.parse(markdown_code(text, "sql").value)
    # A reader of Markdown takes a carriage return for a line's end.
    assert (code.type, code.content) == ("fence", text.replace("\r", "\n") + "\n")
    for tokens in (READER.parse(markdown_paragraphs(text)), table):
        assert {token.type for token in inline(tokens)} <= {"text", "code_inline"}


def test_a_harmless_text_stays_readable_where_it_is_shown_as_it_was_written() -> None:
    for text in (
        "Parts (EUR), last_updated 2024-01-01",
        "R&D: a > b",
        "5% of x; y = 1.5",
        "-",
        "What? Now!",
    ):
        assert markdown_text(text).replace("\\>", ">").replace("\\-", "-") == text
    assert markdown_text("see https://example.com/a_b") == "see `https://example.com/a_b`"


def test_paragraphs_stay_and_are_bounded() -> None:
    assert (
        markdown_paragraphs("Items", "One\nline.\n\n\nTwo.", "", "\n")
        == "Items\n\nOne line.\n\nTwo."
    )
    assert markdown_paragraphs("a\n\n" * 1000).count("\n\n") == MAX_PARAGRAPHS - 1
    assert len(markdown_text("*" * 100_000)) < 5_000


def test_markdown_is_made_in_one_place() -> None:
    makers = {
        path.name
        for path in ORCHESTRATE.parent.rglob("*.py")
        if re.search(r"MetadataValue\.md\(|MarkdownMetadataValue\(", path.read_text())
    }
    assert makers == {"markdown.py"}
