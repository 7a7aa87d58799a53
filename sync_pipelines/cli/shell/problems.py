"""The lines of the processes' logs that a person sees: one line for one trouble, without its events and traceback."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator

from sync_pipelines.observe.lines import OPENED_WORD, OVER_WORD

REPEAT_SECONDS = 600
_MOST_KINDS = 1000
_RECORD = re.compile(r"^\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d")
_TROUBLE = re.compile(r"\b(ERROR|CRITICAL)\b")
# dagster - ERROR - job - run - process - step - EVENT: a failed step or run. It is on the page of the run, and its
# cause becomes an incident.
_EVENT_OF_A_RUN = re.compile(r" - (ERROR|CRITICAL) - \S+ - [0-9a-f]{8}-[0-9a-f-]{27} - ")
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\)")
_EXCEPTION = re.compile(r"^[\w.]+(Error|Exception|Interrupt|Exit)\b")
_INCIDENT = re.compile(rf"(?P<word>{OPENED_WORD}|{OVER_WORD}): (?P<what>.+?)\.(?: |$)")
_VARIABLE = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+(\.\d+)?")


class Problems:
    """Finds the lines that tell of trouble in the output of one process.

    A record is a line that begins with a time, and the lines below it belong to it. Of a traceback outside of any
    record the last line counts. What differs from an earlier line in numbers alone is shown again after ten minutes,
    with how often it came. An incident is shown once until it is over, whichever process tells of it.

    Args:
        told: the open incidents that were shown, shared by the logs that are shown together.
        clock: seconds.
    """

    def __init__(
        self, told: set[str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._told = set() if told is None else told
        self._clock = clock
        self._in_record = False
        self._in_traceback = False
        self._shown_at: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def of(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines to show."""
        for line in lines:
            troubled = self._tells_of_trouble(line)
            incident = _INCIDENT.search(line)
            if incident and incident["word"] == OVER_WORD:
                self._told.discard(incident["what"])
            elif incident and troubled and incident["what"] not in self._told:
                self._told.add(incident["what"])
                yield line
            elif troubled and not incident and (shown := self._once(line)):
                yield shown

    def _tells_of_trouble(self, line: str) -> bool:
        if _RECORD.match(line):
            self._in_record = True
            self._in_traceback = False
            return bool(_TROUBLE.search(line)) and not _EVENT_OF_A_RUN.search(line)
        if _TRACEBACK.match(line):
            self._in_traceback = not self._in_record
            return False
        if self._in_traceback:
            self._in_traceback = not _EXCEPTION.match(line)
            return not self._in_traceback
        return not self._in_record and bool(_TROUBLE.search(line) or line.startswith("Error: "))

    def _once(self, line: str) -> str | None:
        kind = _VARIABLE.sub("#", line)
        now = self._clock()
        shown_at = self._shown_at.get(kind)
        if shown_at is not None and now - shown_at < REPEAT_SECONDS:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return None
        if len(self._shown_at) >= _MOST_KINDS:
            self._shown_at.clear()
        self._shown_at[kind] = now
        more = self._held_back.pop(kind, 0)
        return f"{line}   ({more} more like it since the last one)" if more else line
