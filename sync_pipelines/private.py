"""Files and folders that only the owner of the process can read, whatever the umask is."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_private_folder(path: Path) -> Path:
    """The folder, made with the missing ones above it; one that is ours already is closed to others.

    Raises:
        OSError: it cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    told = path.stat()
    if told.st_mode & 0o077 and told.st_uid == os.getuid():
        path.chmod(FOLDER_MODE)
    return path


def private_opener(path: str, flags: int) -> int:
    """For `open(…, opener=private_opener)`: a new file is private, one that is there and ours becomes so."""
    number = os.open(path, flags, FILE_MODE)
    told = os.fstat(number)
    if told.st_mode & 0o077 and told.st_uid == os.getuid():
        os.fchmod(number, FILE_MODE)
    return number


def write_private(path: Path, content: str | bytes) -> None:
    """Write a whole file, UTF-8 where it is a text."""
    with open(path, "wb", opener=private_opener) as file:
        file.write(content.encode() if isinstance(content, str) else content)
