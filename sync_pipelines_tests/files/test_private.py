"""What we write is closed to other users of the machine."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from sync_pipelines.cli.commands.workplace import harmless
from sync_pipelines.cli.shell.homes import Home
from sync_pipelines.cli.shell.processes import Child
from sync_pipelines.files.private import make_private_folder, write_private
from sync_pipelines.logs import set_up_logging
from sync_pipelines.orchestrate.reload import write_endpoint
from sync_pipelines.settings import Settings
from sync_pipelines.sources.http.traffic import Reply
from sync_pipelines.sources.rest.kept_answers import AnswerCache


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """The usual umask lets everybody read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]


def test_home_logs_answers_and_endpoint_are_private_whatever_the_umask_is(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.start_afresh()
    home.write_token("demo-token-1234")
    home.write_plan({"a": 1})
    write_endpoint(home.root, "http://localhost:3000")
    child = Child("echo", ["true"], home.logs / "echo.log", dict(os.environ))
    child.process.wait()
    cache = AnswerCache(home.root, uuid4(), 60)
    cache.open()
    cache.put("one", Reply(b"{}", {}, "http://erp.example"))
    assert open_to_others(tmp_path) == []


def test_a_new_log_file_is_private_and_one_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    new, shared = tmp_path / "logs" / "new.log", tmp_path / "shared.log"
    shared.touch()
    shared.chmod(0o640)
    for path in (new, shared):
        set_up_logging(Settings(_env_file=None, log_file=path))
    set_up_logging(Settings(_env_file=None))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (new.parent, new, shared)] == [
        0o700,
        0o600,
        0o640,
    ]


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    made = make_private_folder(shared / "a" / "b")
    write_private(made / "file", json.dumps({}))
    assert open_to_others(tmp_path) == ["shared"]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\r\nlines", "two\\r\\nlines"),
        ("\x9b31m", "\\x9b31m"),
        ("right\u202eleft", "right\\u202eleft"),
        ("\u2028", "\\u2028"),
        ("nul\x00", "nul\\x00"),
        ("=1+1", "'=1+1"),
        (" \t=1+1", "' \\t=1+1"),
        ("\u00a0@SUM", "'\\xa0@SUM"),
        ("größe 😀", "größe 😀"),
        (None, ""),
    ],
)
def test_an_exported_cell_acts_on_no_terminal_and_no_spreadsheet(
    value: str | None, cell: str
) -> None:
    assert harmless(value) == cell
