"""Output never decides how finished work ends: a closed pipe, a full disk or a narrow encoding costs lines and no exit
code.

Where showing is all that a command does, a failed stdout is its failure, unless the reader has closed it.
"""

from __future__ import annotations

import codecs
import errno
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

logger = logging.getLogger(__name__)

LOOK_ALIKE = "sync_pipelines.look_alike"
_ALIKE = {
    "✓": "ok",
    "✗": "x",
    "–": "-",
    "—": "-",
    "…": "...",
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "·": "-",
    "•": "*",
    "“": '"',
    "”": '"',
    "’": "'",
}


def _look_alike(error: UnicodeError) -> tuple[str, int]:
    """What an encoding lacks, in letters that it has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_ALIKE.get(character, "?") for character in lacking), error.end


codecs.register_error(LOOK_ALIKE, _look_alike)


class SteadyStream:
    """A text stream that never raises because of where its text goes.

    Attributes:
        trouble: the first error of the stream; what came after it is dropped.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.trouble: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        if self._stream is None:
            raise AttributeError(name)
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:
        """Of the stream below; ASCII where there is none."""
        return getattr(self._stream, "encoding", None) or "ascii"

    def isatty(self) -> bool:
        """Whether a person watches."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def write(self, text: str) -> int:
        """Write what can be written; all of it counts as written."""
        if self._stream is None or self.trouble is not None:
            return len(text)
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            plain = text.encode(self.encoding, errors=LOOK_ALIKE).decode(self.encoding)
            return self.write(plain)
        except (OSError, ValueError) as error:
            self._give_up(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Pass on what is buffered."""
        if self._stream is None or self.trouble is not None:
            return
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    @property
    def is_closed_by_reader(self) -> bool:
        """The other end has read enough, as `head` does."""
        return isinstance(self.trouble, OSError) and self.trouble.errno in (
            errno.EPIPE,
            errno.EINVAL,
        )

    def _give_up(self, error: Exception) -> None:
        self.trouble = error
        logger.debug("output is dropped from here on", exc_info=error)
        # Python flushes its buffers once more when it ends, and would exit with 120.
        try:
            descriptor = self._stream.fileno() if self._stream is not None else None
        except (OSError, ValueError):
            return
        if descriptor is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


@contextmanager
def steady_output() -> Iterator[SteadyStream]:
    """Let stdout and stderr of this process be steady; yields stdout."""
    before = sys.stdout, sys.stderr
    out = SteadyStream(sys.stdout)
    err = SteadyStream(sys.stderr)
    sys.stdout = out
    sys.stderr = err
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
