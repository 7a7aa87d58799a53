"""Samples into a table for the terminal and the same table as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from rich.table import Table

from benchmarks.scenarios import Sample

HEADERS = (
    "work",
    "who",
    "records",
    "wall s (spread)",
    "records/s",
    "CPU s client",
    "database",
    "source",
    "peak MB",
    "requests",
    "wall ÷ floor",
    "CPU ÷ floor",
)

_BASES = ("floor", "no gate")  # what the others are divided by


def summarize(samples: Sequence[Sample]) -> list[tuple[str, ...]]:
    """One line per work and contender: medians over the repeats, and ratios to the floor of the same repeat."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.work, sample.who), []).append(sample)
    works = list(dict.fromkeys(work for work, _ in groups))
    lines = []
    for work in works:
        base = next((who for who in _BASES if (work, who) in groups), "floor")
        floors = {sample.repeat: sample for sample in groups.get((work, base), [])}
        lines += [_line(members, floors) for (known, _), members in groups.items() if known == work]
    return lines


def _line(members: list[Sample], floors: dict[int, Sample]) -> tuple[str, ...]:
    def median(name: str) -> float:
        return statistics.median(sample.found[name] for sample in members)

    wall = median("wall_seconds")
    spread = [sample.found["wall_seconds"] for sample in members]
    fetched = int(median("fetched"))
    return (
        members[0].work,
        members[0].who,
        f"{fetched:,}",
        f"{wall:.2f}" + (f" ({min(spread):.2f}–{max(spread):.2f})" if len(spread) > 1 else ""),
        f"{fetched / wall:,.0f}" if fetched else "–",
        f"{median('client_cpu'):.2f}",
        f"{median('database_cpu'):.2f}",
        f"{median('source_cpu'):.2f}",
        f"{median('peak_mb'):.0f}",
        f"{median('requests'):.0f}",
        _ratio(members, floors, lambda sample: sample.found["wall_seconds"]),
        _ratio(
            members,
            floors,
            lambda sample: sample.found["client_cpu"] + sample.found["database_cpu"],
        ),
    )


def _ratio(
    members: list[Sample], floors: dict[int, Sample], cost: Callable[[Sample], float]
) -> str:
    pairs = [
        (cost(sample), cost(floors[sample.repeat])) for sample in members if sample.repeat in floors
    ]
    # Below, the clock's ticks show.
    ratios = [ours / floor for ours, floor in pairs if floor >= 0.02]
    return f"{statistics.median(ratios):.2f}" if ratios else "–"


def as_table(lines: list[tuple[str, ...]]) -> Table:
    """For the terminal."""
    table = Table()
    for place, header in enumerate(HEADERS):
        table.add_column(header, justify="left" if place < 2 else "right")
    for line in lines:
        table.add_row(*line)
    return table


def as_markdown(lines: list[tuple[str, ...]]) -> str:
    """For a file."""
    rule = ("---",) * 2 + ("--:",) * (len(HEADERS) - 2)
    return "\n".join("| " + " | ".join(line) + " |" for line in (HEADERS, rule, *lines)) + "\n"
