"""Gates that a connector file brings along: put into the folder of gates once, and a person's from then on."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

from sync_pipelines.declare.source_file import (
    MAX_FILE_BYTES,
    included,
    locate,
    part_beside,
    read_file,
    shipped_folder,
    shipped_names,
)
from sync_pipelines.errors import NotFoundError, SettingsError
from sync_pipelines.files.bounded import is_within, read_bounded
from sync_pipelines.files.private import make_private_folder, write_private
from sync_pipelines.secrets import printable

MAX_FILES = 1_000


def plan_gates(file: str, connector: str, folder: Path) -> dict[Path, bytes]:
    """The files to write for a connector file that names its `gates`: none that are there already.

    Args:
        file: as `connector apply` got it.
        connector: the name in it.
        folder: of gates.

    Raises:
        SettingsError: the gates are not beside the file, so that everything would pass.
    """
    source, found = read_file(file), locate(file)
    gates = source.data.get("gates") if isinstance(source.data, dict) else None
    if gates is None or found is None or (folder / connector).exists():
        return {}
    brought = part_beside(source, found.parent, "gates", gates)
    found_files = sorted(itertools.islice(brought.rglob("*"), MAX_FILES + 1))
    if len(found_files) > MAX_FILES:
        raise SettingsError(
            f"{printable(str(brought))} holds more than {MAX_FILES} files.",
            state="Nothing was stored.",
        )
    return {
        folder / connector / path.relative_to(brought): _read_gate(path, brought)
        for path in found_files
        if not path.is_dir()
    }


def _read_gate(path: Path, brought: Path) -> bytes:
    try:
        if not (brought.is_relative_to(shipped_folder()) or is_within(path, brought)):
            raise SettingsError(
                f"{printable(str(path))} leads out of its folder by a symbolic link."
            )
        return read_bounded(path, MAX_FILE_BYTES)
    except SettingsError as error:
        raise error.leaves("Nothing was stored.") from None
    except OSError as error:
        raise SettingsError(
            f"{printable(str(path))} cannot be read: {error.strerror}.", state="Nothing was stored."
        ) from None


def apply_gates(files: dict[Path, bytes], gates: Path) -> None:
    """Write them, all or none: a gate of which a part is there would let everything else pass, and is never written
    again.

    Args:
        files: of `plan_gates`.
        gates: the connector's folder, which they are in.

    Raises:
        SettingsError: the folder cannot be written to.
    """
    if not files:
        return
    partial = gates.with_name(f".{gates.name}.{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for path, content in files.items():
            place = partial / path.relative_to(gates)
            make_private_folder(place.parent)
            write_private(place, content)
        partial.rename(gates)
    except OSError as error:
        raise SettingsError(
            f"The gate {printable(str(gates))} cannot be written: {error.strerror}.",
            state="The connector is as before.",
            next_command="name a folder that can be written to with SYNC_PIPELINES_GATES",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy_shipped(name: str, folder: Path) -> Path:
    """Copy a shipped connector with everything that belongs to it, to be changed and applied by path.

    Nothing is overwritten.

    Returns:
        Its file.

    Raises:
        NotFoundError: no shipped connector has the name.
        SettingsError: a file of it is there already, or cannot be written.
    """
    if name not in shipped_names():
        raise NotFoundError(
            f"No shipped connector is called {printable(name)}; shipped: {', '.join(shipped_names())}.",
            state="Nothing was written.",
        )
    found = locate(name)
    assert found is not None
    source = read_file(name)
    gates = [source.data["gates"]] if "gates" in source.data else []
    places = [Path(found.name), *map(Path, included(source)), *map(Path, gates), Path(name)]
    files = {
        inner.relative_to(found.parent)
        for place in places
        for inner in [found.parent / place, *(found.parent / place).rglob("*")]
        if inner.is_file()
    }
    taken = sorted(str(path) for path in files if (folder / path).exists())
    if taken:
        raise SettingsError(
            f"{folder / taken[0]} is there already.",
            state="Nothing was written.",
            next_command="name another folder",
        )
    for path in files:
        target = folder / path
        try:
            make_private_folder(target.parent)
            shutil.copyfile(found.parent / path, target)
        except OSError as error:
            raise SettingsError(
                f"{printable(str(target))} cannot be written: {error.strerror}.",
                state="Some files may be there.",
            ) from None
    return folder / found.name
