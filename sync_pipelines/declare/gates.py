"""Gates that come with a shipped connector: put into the folder of gates once, and a person's from then on."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from sync_pipelines.declare.files import shipped_names
from sync_pipelines.errors import SettingsError
from sync_pipelines.private import make_private_folder, write_private
from sync_pipelines.secrets import printable


def plan_gates(file: str, connector: str, folder: Path) -> dict[Path, bytes]:
    """The files to write for a connector file: none for a file of one's own, none that are there already.

    Args:
        file: as `connector apply` got it.
        connector: the name in it.
        folder: of gates.
    """
    if file not in shipped_names() or Path(file).is_file():
        return {}
    shipped = resources.files("sync_pipelines") / "connectors" / "gates" / file
    if not shipped.is_dir() or (folder / connector).exists():
        return {}
    return {folder / connector / entry.name: entry.read_bytes() for entry in sorted(shipped.iterdir(), key=lambda one: one.name)}


def apply_gates(files: dict[Path, bytes]) -> None:
    """Write them.

    Raises:
        SettingsError: the folder cannot be written to.
    """
    for path, content in files.items():
        try:
            make_private_folder(path.parent)
            write_private(path, content)
        except OSError as error:
            raise SettingsError(
                f"The gate {printable(str(path))} cannot be written: {error.strerror}.",
                state="The connector is as before.",
                next_command="name a folder that can be written to with SYNC_PIPELINES_GATES",
            ) from None
