"""The file `.env` in the working directory: read into the environment, and read again when a secret is looked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

from dotenv import dotenv_values, load_dotenv

# Names that came from the file, for child processes: in their environment they look like those of the shell, which
# win.
NAMES_VARIABLE = "SYNC_PIPELINES_DOTENV_NAMES"
_lock = threading.Lock()


def dotenv_file() -> Path:
    """Where the file is, if there is one."""
    return Path.cwd() / ".env"


def load_dotenv_file() -> None:
    """Put the file's variables into the environment.

    Those that are set already stay, unless they came from the file as well.
    """
    with _lock:
        from_file = _from_file()
        set_already = set(os.environ) - from_file
        values = _values()
        for name in from_file & values.keys():
            os.environ[name] = values[name]
        load_dotenv(dotenv_file(), override=False)
        names = sorted(values.keys() - set_already)
        os.environ[NAMES_VARIABLE] = ",".join(names)


def current_value(name: str) -> str:
    """A variable as it is now: of the environment, or of the file where it is new there or came from there.

    Empty when in neither.
    """
    known = os.environ.get(name, "")
    if known and name not in _from_file():
        return known
    values = _values()
    return values.get(name, known)


def values_in(file: Path, names: Iterable[str]) -> dict[str, str]:
    """Some variables as a file has them now; without those that it has not."""
    values = _values(file)
    return {name: values[name] for name in names if name in values}


def _from_file() -> set[str]:
    names = os.environ.get(NAMES_VARIABLE, "").split(",")
    return {name for name in names if name}


def _values(file: Path | None = None) -> dict[str, str]:
    """The file's variables; none when there is no file that can be read."""
    try:
        found = dotenv_values(file or dotenv_file())
    except OSError:
        return {}
    return {name: value for name, value in found.items() if value is not None}
