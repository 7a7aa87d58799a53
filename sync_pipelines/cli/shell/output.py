"""How the command line shows things: tables and text without markup from outside, or JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
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
    return "\n\n".join(
        ["Examples:", *(f"$ sync-pipelines {command}".rstrip() for command in commands)]
    )


def console(*, stderr: bool = False) -> Console:
    """A console for the stream as it is now; wide where nobody looks, so that a pipe gets whole lines."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def on_terminal(*, stderr: bool = True) -> bool:
    """True when a person watches, so that progress bars make sense."""
    return console(stderr=stderr).is_terminal and os.environ.get("TERM") != "dumb"


def say(message: str, style: str | None = None, *, stderr: bool = False) -> None:
    """Print one paragraph of our own; markup inside is not interpreted, secrets are cut out."""
    draw(Text(redact(message), style=style or ""), stderr=stderr, soft_wrap=True)


def draw(shown: Text | Table, *, stderr: bool = False, soft_wrap: bool = False) -> None:
    """Print something of rich; where rich itself fails, its plain text. Never raises: what it tells of has happened."""
    try:
        console(stderr=stderr).print(shown, soft_wrap=soft_wrap)
    except Exception:  # how something is drawn decides nothing
        logger.debug("rich could not draw", exc_info=True)
        (sys.stderr if stderr else sys.stdout).write(f"{_plain(shown)}\n")


def _plain(shown: Text | Table) -> str:
    if isinstance(shown, Text):
        return shown.plain
    columns = [[str(column.header), *map(str, column.cells)] for column in shown.columns]
    return "\n".join("\t".join(row) for row in zip(*columns, strict=True))


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
    cells = [[cell(value) for value in row] for row in rows]
    whole = []
    widths = []
    for place, name in enumerate(columns):
        has_wholes = name in right or any(_is_whole(row[place]) for row in rows)
        stays_whole = name not in folds and has_wholes
        whole.append(stays_whole)
        widths.append(_least_width(name, [row[place].plain for row in cells], stays_whole))
    kept = columns_that_fit(columns, widths, least, console().width)
    table = Table(title=Text(title), title_justify="left", header_style="bold")
    for place in kept:
        table.add_column(
            columns[place],
            justify="right" if columns[place] in right else "left",
            overflow="fold",
            no_wrap=whole[place],
            min_width=widths[place],
        )
    for row in cells:
        table.add_row(*(row[place] for place in kept))
    draw(table)
    left_out = [name for place, name in enumerate(columns) if place not in kept]
    if left_out:
        say(
            f"Left out for want of width: {', '.join(left_out)}. A wider terminal and --json show them.",
            "dim",
            stderr=True,
        )


def columns_that_fit(
    columns: Sequence[str], widths: Sequence[int], least: Sequence[str], available: int
) -> list[int]:
    """The places of the columns that fit beside each other, with two borders and a line between any two."""
    kept = list(range(len(columns)))
    goes_first = [columns.index(name) for name in least if name in columns]
    goes_first += [place for place in reversed(kept[1:]) if place not in goes_first]
    for place in goes_first:
        if sum(widths[one] + 3 for one in kept) + 1 <= available or len(kept) == 1:
            break
        kept.remove(place)
    return kept


def _is_whole(value: Any) -> bool:
    """Numbers and times are never broken over two lines."""
    return isinstance(value, int | float | datetime) and not isinstance(value, bool)


def _least_width(name: str, texts: Sequence[str], whole: bool) -> int:
    """How narrow a column may get: a number as wide as it is, a text as its longest word, at most a fifth of a usual
    screen.
    """
    header = max(map(len, name.split()), default=1)
    longest = max(
        (len(text) for text in texts)
        if whole
        else (len(word) for text in texts for word in text.split()),
        default=1,
    )
    return max(header, longest if whole else min(longest, TEXT_WIDTH))


def show_fields(title: str, fields: dict[str, Any]) -> None:
    """Print one thing as name and value per line."""
    show_table(title, ("field", "value"), fields.items(), folds=("value",))


def print_json(data: Any) -> None:
    """Print JSON-ready data on stdout.

    Text is redacted, anything beyond ASCII and all control characters are escaped.
    """
    sys.stdout.write(json.dumps(_clean(data), indent=2, default=str) + "\n")


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
        return redact(bytes(data).decode("utf-8", errors="backslashreplace"))
    return redact(data) if isinstance(data, str) else data
