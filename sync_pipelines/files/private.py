"""Files and folders that only the owner of the process can read.

What is there already keeps the mode that a person gave it.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_OTHERS = 0o077


def keep_new_files_private() -> None:
    """From here on, whatever this process and its children make is closed to others: logs, answers, exports, Dagster's
    home.
    """
    os.umask(_OTHERS)


def make_private_folder(path: Path) -> Path:
    """The folder; it and the missing ones above it are made private, those that are there stay as they are.

    Raises:
        OSError: it cannot be made.
    """
    folders = (path, *path.parents)
    missing = [folder for folder in folders if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return path


def private_opener(path: str, flags: int) -> int:
    """For `open(…, opener=private_opener)`: a new file is private."""
    return os.open(path, flags, FILE_MODE)


def write_private(path: Path, content: str | bytes) -> None:
    """Write a whole file, UTF-8 where it is a text."""
    body = content.encode() if isinstance(content, str) else content
    with open(path, "wb", opener=private_opener) as file:
        file.write(body)
