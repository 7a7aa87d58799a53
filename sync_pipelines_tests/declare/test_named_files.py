"""A connector file names only regular files of its folder, of a bounded size, that never block a process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sync_pipelines.declare.connector_file import load_declaration
from sync_pipelines.declare.shipped_gates import plan_gates
from sync_pipelines.errors import SettingsError
from sync_pipelines.files.bounded import read_bounded
from sync_pipelines.sources.rest.openapi import resolve_openapi

FILE = """
name: shop
kind: rest
base_url: https://shop.example.com
{more}
endpoints: {{users: {{path: /users, key: [id]}}}}
"""


def write(folder: Path, more: str) -> str:
    path = folder / "shop.yaml"
    path.write_text(FILE.format(more=more))
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with links out of it and a pipe that nobody writes to."""
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    for place in (inner / "real", outer):
        place.mkdir(parents=True)
        (place / "users.yaml").write_text("description: from outside\n")
    (inner / "link.yaml").symlink_to(outer / "users.yaml")
    (inner / "beside.yaml").symlink_to(inner / "real" / "users.yaml")
    (inner / "linked").symlink_to(outer)
    (inner / "zero.yaml").symlink_to("/dev/zero")
    os.mkfifo(inner / "pipe.yaml")
    return inner


@pytest.mark.parametrize(
    ("included", "said"),
    [
        ("link.yaml", "leads out of the folder of this file by a symbolic link"),
        ("linked/users.yaml", "leads out of the folder"),
        ("zero.yaml", "leads out of the folder"),
        ("pipe.yaml", "is no regular file"),
        ("real", "is no regular file|directory"),
    ],
)
def test_what_is_included_is_a_regular_file_of_the_folder(
    folder: Path, included: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load_declaration(write(folder, f"include: [{included}]"))
    assert caught.value.state == "Nothing was stored."


def test_a_link_within_the_folder_is_followed(folder: Path) -> None:
    assert load_declaration(write(folder, "include: [beside.yaml]")).description == "from outside"


def test_gates_do_not_come_from_elsewhere(folder: Path, tmp_path: Path) -> None:
    for brought in ("linked", "real"):
        (folder / "real" / "more.yaml").unlink(missing_ok=True)
        (folder / "real" / "more.yaml").symlink_to(tmp_path / "outer" / "users.yaml")
        with pytest.raises(SettingsError, match="by a symbolic link"):
            plan_gates(write(folder, f"gates: {brought}"), "shop", tmp_path / "gates")


def test_a_pipe_or_a_device_as_openapi_document_is_refused_at_once(folder: Path) -> None:
    for name in ("pipe.yaml", "zero.yaml"):
        text = f"name: shop\nkind: openapi\nbase_url: https://shop.example.com\nopenapi: {{file: {folder / name}}}\n"
        (folder / "shop.yaml").write_text(text)
        with pytest.raises(SettingsError, match="is no regular file"):
            resolve_openapi(load_declaration(str(folder / "shop.yaml")), None)  # type: ignore[arg-type]


def test_files_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 11)
    assert read_bounded(tmp_path / "large", 11) == b"x" * 11
    with pytest.raises(SettingsError, match="larger than 10 bytes"):
        read_bounded(tmp_path / "large", 10)
