"""Files that a connector file names: regular ones within a bound, so that no device, pipe or sparse giant holds a
process up.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sync_pipelines.errors import SettingsError
from sync_pipelines.secrets import printable


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The content of a file.

    Args:
        path: its place; symbolic links are followed.
        most_bytes: it must not have more.

    Raises:
        SettingsError: it is a device, a pipe or a folder, or too large.
        OSError: it cannot be opened.
    """
    # A pipe without a writer would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SettingsError(f"{printable(str(path))} is no regular file.")
        body = file.read(most_bytes + 1)
    if len(body) > most_bytes:
        raise SettingsError(f"{printable(str(path))} is larger than {most_bytes} bytes.")
    return body


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path stays in a folder when its symbolic links are followed."""
    return path.resolve().is_relative_to(folder.resolve())
