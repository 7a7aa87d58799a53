"""Working folders of runs, in the home: private, each held by a file lock, so that what a dead process left is known at
once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType

from sync_pipelines.files.private import FILE_MODE, make_private_folder

logger = logging.getLogger(__name__)

FOLDER = "spools"
_LOCK = ".lock"


class RunFolder:
    """The working folder of one run, made when something is put into it: a small run never needs one."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._open = ExitStack()

    def __enter__(self) -> RunFolder:
        sweep_spools(self._home)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @cached_property
    def path(self) -> Path:
        """The folder.

        Raises:
            OSError: it cannot be made.
        """
        return self._open.enter_context(working_folder(self._home))


@contextmanager
def working_folder(home: Path) -> Iterator[Path]:
    """A new folder for one run, removed at its end; those of processes that died are removed first.

    Raises:
        OSError: it cannot be made.
    """
    root = make_private_folder(home / FOLDER)
    # Between making a folder and locking it, nobody may take it for abandoned.
    with _locked(root / _LOCK, wait=True):
        _sweep(root)
        folder = Path(tempfile.mkdtemp(prefix="run_", dir=root))
        lock = _lock(folder / _LOCK, wait=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep_spools(home: Path) -> int:
    """Remove the folders of runs whose process died; returns how many."""
    root = home / FOLDER
    if not root.is_dir():
        return 0
    with _locked(root / _LOCK, wait=True):
        return _sweep(root)


def _sweep(root: Path) -> int:
    swept = 0
    for folder in root.glob("run_*"):
        try:
            with _locked(folder / _LOCK, wait=False):
                shutil.rmtree(folder)
                swept += 1
        except BlockingIOError:
            continue  # its process lives
        except FileNotFoundError:
            continue  # its process has just ended and removes it itself
        except OSError as error:
            logger.warning(
                "the working folder %s of a run that died stays: %s",
                folder.name,
                error.strerror,
            )
    return swept


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[None]:
    number = _lock(path, wait=wait)
    try:
        yield
    finally:
        os.close(number)


def _lock(path: Path, *, wait: bool) -> int:
    """A descriptor that holds the lock until it is closed, by the end of the process at the latest."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(number, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(number)
        raise
    return number
