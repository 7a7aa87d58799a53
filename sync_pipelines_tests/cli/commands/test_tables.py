"""Tables of any terminal: columns go by importance, numbers and times stay whole."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from sync_pipelines.cli.shell.output import columns_that_fit, show_fields, show_table

COLUMNS = ("entity", "rows", "last success", "cursor", "message")
ROWS = [
    (
        "erp/items",
        1_234_567_890,
        datetime(2026, 1, 31, 12, 0, 59, tzinfo=UTC),
        "2026-01-31T12:00:59.123456Z",
        "a sentence of many words " * 4,
    )
]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_broken(monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    show_table("Entities", COLUMNS, ROWS, right=("rows",), least=("cursor", "last success"))
    shown = capsys.readouterr()
    assert max(map(len, shown.out.splitlines())) <= width
    assert "1,234,567,890" in shown.out
    assert ("2026-01-31 12:00:59" in shown.out) == ("last success" not in shown.err)
    assert ("cursor" in shown.err) == (width < 200 and "cursor" not in shown.out)


def test_columns_go_in_the_order_of_their_importance_and_the_first_one_stays():
    assert columns_that_fit(COLUMNS, [10] * 5, ("last success",), 66) == [0, 1, 2, 3, 4]
    assert columns_that_fit(COLUMNS, [10] * 5, ("last success",), 65) == [0, 1, 3, 4]
    assert columns_that_fit(COLUMNS, [10] * 5, ("last success",), 40) == [0, 1, 3]
    assert columns_that_fit(COLUMNS, [10] * 5, (), 5) == [0]


def test_a_run_fits_into_eighty_columns(cli, world, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    world.add_items(30)
    world.sync()
    for command in (
        ["runs"],
        ["entities"],
        ["alerts"],
        ["connector", "list"],
        ["quarantine", "list"],
    ):
        assert all(
            len(line) <= 80
            for line in cli(*command).stdout.splitlines()
            if "│" in line or "┃" in line
        ), command


def test_what_was_rejected_and_deleted_is_the_last_to_go_from_a_list_of_runs(
    cli, world, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    world.add_items(30)
    world.sync()
    shown = cli("runs")
    assert "quarantined" in shown.stdout and "deleted" in shown.stdout
    assert "quarantined" not in shown.stderr and "deleted" not in shown.stderr


def test_one_thing_shows_its_values_however_long_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_fields(
        "demo",
        {
            "uid": uuid4(),
            "seen": datetime(2026, 1, 1, tzinfo=UTC),
            "settings": "a long text of settings " * 20,
            "rows": 7,
        },
    )
    shown = capsys.readouterr()
    assert "value" in shown.out and "2026-01-01 00:00:00" in shown.out
    assert not shown.err, "no column is left out"
    assert max(map(len, shown.out.splitlines())) <= 80
