"""The one place where text becomes Markdown: whatever a source wrote is shown as text, and never read as markup.

Dagster renders descriptions and some metadata as GitHub's Markdown. An image there is fetched by the browser of whoever
opens the page, so text of a source that reaches it unescaped acts with that person's rights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import dagster as dg

from sync_pipelines.secrets import printable, redact

MAX_CHARACTERS = 2_000
MAX_PARAGRAPHS = 20

Cell = str | int

# An underscore within a word and an ampersand that begins no character reference are never markup; they stay readable
# in the lists that show a description as it was written.
_ACTIVE = re.compile(r"[\\`*\[\]<>|~]|(?<![^\W_])_|_(?![^\W_])|&(?=#|[A-Za-z][A-Za-z0-9]{0,40};)")
_AT_LINE_START = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[#+\-=:]))")
# A superset of what the renderer makes links of without any markup. It looks for them after it has resolved escapes, so
# that only a code span keeps them from becoming links.
_LINK = re.compile(r"://|www\.|@", re.IGNORECASE)
_NO_CODE = str.maketrans({"`": "%60", "|": "%7C"})
_BLANK_LINE = re.compile(r"\n\s*\n")
_FENCE = re.compile(r"`{3,}")


def markdown_text(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return one line of Markdown that shows `text`, redacted and at most `limit` of its characters.

    Line ends become spaces. Addresses are shown as code, so that they do not become links.
    """
    one_line = " ".join(text.split())
    shown = printable(one_line, limit)
    words = [_markdown_word(word) for word in shown.split(" ")]
    line = " ".join(words)
    return _AT_LINE_START.sub(r"\1\\", line)


def markdown_paragraphs(*texts: str) -> str:
    """Return Markdown that shows each text as paragraphs; blank lines of a text part them, empty texts are left out."""
    paragraphs: list[str] = []
    for text in texts:
        for part in _BLANK_LINE.split(text):
            if part.strip():
                paragraphs.append(part)
    shown = [markdown_text(paragraph) for paragraph in paragraphs[:MAX_PARAGRAPHS]]
    return "\n\n".join(shown)


def markdown_list(items: Iterable[str]) -> dg.MarkdownMetadataValue:
    """A list with one line for each item."""
    lines = [f"- {markdown_text(item)}" for item in items]
    return _metadata(lines)


def markdown_table(
    header: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    note: str = "",
) -> dg.MarkdownMetadataValue:
    """A table whose first column is text and whose other columns are numbers, and a sentence below it."""
    number_columns = len(header) - 1
    lines = [_row(header), "|---|" + "---:|" * number_columns]
    for cells in rows:
        lines.append(_row(cells))
    if note:
        lines += ["", markdown_text(note)]
    return _metadata(lines)


def markdown_code(text: str, language: str = "") -> dg.MarkdownMetadataValue:
    """A block of code; its fence is longer than any within `text`."""
    shown = redact(text)
    fences = _FENCE.findall(shown)
    longest = max(map(len, fences), default=2)
    fence = "`" * (longest + 1)
    return _metadata([f"{fence}{language}", shown, fence])


def _metadata(lines: list[str]) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md("\n".join(lines))


def _row(cells: Sequence[Cell]) -> str:
    texts = [markdown_text(str(cell)) for cell in cells]
    return f"| {' | '.join(texts)} |"


def _markdown_word(word: str) -> str:
    if _LINK.search(word):
        return _code_span(word)
    return _ACTIVE.sub(r"\\\g<0>", word)


def _code_span(word: str) -> str:
    shown = word.translate(_NO_CODE)
    return f"`{shown}`"
