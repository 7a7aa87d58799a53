"""How the command line shows things: tables and text without markup from outside, or JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sync_pipelines.secrets import printable, redact

logger = logging.getLogger(__name__)

JSON_FLAG = "sync_pipelines.json"
PIPE_WIDTH = 200
CELL_CHARACTERS = 300
TEXT_WIDTH = 16


def _remember_json(context: typer.Context, value: bool) -> bool:
    if value:
        context.find_root().meta[JSON_FLAG] = True
    return value


JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON on stdout, errors included.",
        callback=_remember_json,
        is_eager=True,
    ),
]


def examples(*commands: str) -> str:
    """The epilog of a `--help`: one line per example."""
    lines = ["Examples:"]
    for command in commands:
        line = f"$ sync-pipelines {command}"
        lines.append(line.rstrip())
    return "\n\n".join(lines)


def console(*, stderr: bool = False) -> Console:
    """A console for the stream as it is now; wide where nobody looks, so that a pipe gets whole lines."""
    stream = sys.stderr if stderr else sys.stdout
    has_width = stream.isatty() or "COLUMNS" in os.environ
    width = None if has_width else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def on_terminal(*, stderr: bool = True) -> bool:
    """True when a person watches, so that progress bars make sense."""
    return console(stderr=stderr).is_terminal and os.environ.get("TERM") != "dumb"


def say(message: str, style: str | None = None, *, stderr: bool = False) -> None:
    """Print one paragraph of ours; markup inside is not interpreted, secrets are cut out."""
    text = Text(redact(message), style=style or "")
    draw(text, stderr=stderr, soft_wrap=True)


def draw(shown: Text | Table, *, stderr: bool = False, soft_wrap: bool = False) -> None:
    """Print something of rich; where rich itself fails, its plain text. Never raises: what it reports has happened."""
    try:
        console(stderr=stderr).print(shown, soft_wrap=soft_wrap)
    except Exception:  # how something is drawn decides nothing
        logger.debug("rich could not draw", exc_info=True)
        stream = sys.stderr if stderr else sys.stdout
        stream.write(f"{_plain(shown)}\n")


def _plain(shown: Text | Table) -> str:
    if isinstance(shown, Text):
        return shown.plain
    columns = []
    for column in shown.columns:
        cells = [column.header, *column.cells]
        columns.append(map(str, cells))
    rows = zip(*columns, strict=True)
    return "\n".join(map("\t".join, rows))


def cell(value: Any) -> Text:
    """A value, maybe from outside, made safe for a table on the terminal."""
    if value is None:
        return Text("–", style="dim")
    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, datetime):
        return Text(f"{value:%Y-%m-%d %H:%M:%S}")
    if isinstance(value, int):
        return Text(f"{value:,}")
    if isinstance(value, float):
        return Text(f"{value:,.2f}")
    return Text(printable(str(value), CELL_CHARACTERS))


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Sequence[str] = (),
    least: Sequence[str] = (),
    folds: Sequence[str] = (),
    empty: str = "",
) -> None:
    """Print rows as wide as the terminal is.

    Where they do not fit, whole columns are left out and named, and no number is broken.

    Args:
        title: above the table.
        columns: their names.
        rows: the values of each.
        right: columns of numbers.
        least: columns that are left out first, in this order; then the others from the right. The first one always
            stays.
        folds: columns that take more lines where they are too long, whatever is in them.
        empty: what to say when there are no rows.
    """
    rows = list(rows)
    if not rows and empty:
        say(empty)
        return
    # Without rows zip has no columns.
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    shown = []
    for name, in_column in zip(columns, values, strict=True):
        has_wholes = name in right or any(map(_is_whole, in_column))
        stays_whole = has_wholes and name not in folds
        shown.append(_ShownColumn(name, list(map(cell, in_column)), stays_whole))
    widths = [column.least_width for column in shown]
    kept = columns_that_fit(columns, widths, least, console().width)
    table = Table(title=Text(title), title_justify="left", header_style="bold")
    for place in kept:
        column = shown[place]
        table.add_column(
            column.name,
            justify="right" if column.name in right else "left",
            overflow="fold",
            no_wrap=column.stays_whole,
            min_width=column.least_width,
        )
    kept_cells = [shown[place].cells for place in kept]
    for row in zip(*kept_cells, strict=True):
        table.add_row(*row)
    draw(table)
    left_out = [name for place, name in enumerate(columns) if place not in kept]
    if left_out:
        names = ", ".join(left_out)
        hint = f"Left out for want of width: {names}. A wider terminal and --json show them."
        say(hint, "dim", stderr=True)


@dataclass(frozen=True)
class _ShownColumn:
    """One column of a table.

    Attributes:
        name: above the values.
        cells: the values, made safe.
        stays_whole: no value is broken over two lines.
    """

    name: str
    cells: Sequence[Text]
    stays_whole: bool

    @property
    def least_width(self) -> int:
        """How narrow the column may get.

        A number is as wide as it is, a text as its longest word, at most a fifth of a usual screen.
        """
        header = max(map(len, self.name.split()), default=1)
        texts = [text.plain for text in self.cells]
        if self.stays_whole:
            longest = max(map(len, texts), default=1)
            return max(header, longest)
        words = " ".join(texts).split()
        longest = max(map(len, words), default=1)
        return max(header, min(longest, TEXT_WIDTH))


def columns_that_fit(
    columns: Sequence[str], widths: Sequence[int], least: Sequence[str], available: int
) -> list[int]:
    """The places of the columns that fit beside each other, with two borders and a line between any two."""
    kept = list(range(len(columns)))
    goes_first = [columns.index(name) for name in least if name in columns]
    goes_first += [place for place in reversed(kept[1:]) if place not in goes_first]
    for place in goes_first:
        needed = 1 + sum(widths[one] + 3 for one in kept)
        if needed <= available or len(kept) == 1:
            break
        kept.remove(place)
    return kept


def _is_whole(value: Any) -> bool:
    """Numbers and times are never broken over two lines."""
    return isinstance(value, int | float | datetime) and not isinstance(value, bool)


def show_fields(title: str, fields: dict[str, Any]) -> None:
    """Print one thing as name and value per line."""
    show_table(title, ("field", "value"), fields.items(), folds=("value",))


def print_json(data: Any) -> None:
    """Print JSON-ready data on stdout.

    Text is redacted, anything beyond ASCII and all control characters are escaped.
    """
    text = json.dumps(_clean(data), indent=2, default=str)
    sys.stdout.write(f"{text}\n")


def _clean(data: Any) -> Any:
    if is_dataclass(data) and not isinstance(data, type):
        return _clean(asdict(data))
    if isinstance(data, dict):
        return {redact(str(key)): _clean(value) for key, value in data.items()}
    if isinstance(data, (list, tuple, set)):
        return [_clean(value) for value in data]
    if isinstance(data, datetime):
        return data.isoformat()
    if isinstance(data, bytes | memoryview):
        text = bytes(data).decode("utf-8", errors="backslashreplace")
        return redact(text)
    if isinstance(data, str):
        return redact(data)
    return data
