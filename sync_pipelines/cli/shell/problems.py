"""The lines of the processes' logs that a person sees: one line for one trouble, without its events and traceback."""

from __future__ import annotations

import re
import time
from collections import Counter
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
    """Finds the lines about trouble in the output of one process.

    A record is a line that begins with a time, and the lines below it belong to it. Of a traceback outside of any
    record the last line counts. What differs from an earlier line in numbers alone is shown again after ten minutes,
    with how often it came. An incident is shown once until it is over, whichever process writes of it.

    Args:
        shown: the open incidents that were shown, shared by the logs that are shown together.
        clock: seconds.
    """

    def __init__(
        self, shown: set[str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open = set() if shown is None else shown
        self._clock = clock
        self._in_record = False
        self._in_traceback = False
        self._shown_at: dict[str, float] = {}
        self._not_shown: Counter[str] = Counter()

    def of(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines to show."""
        for line in lines:
            is_trouble = self._is_trouble(line)
            incident = _INCIDENT.search(line)
            if incident is not None:
                shown = self._of_incident(line, incident, is_trouble)
            elif is_trouble:
                shown = self._once(line)
            else:
                shown = None
            if shown is not None:
                yield shown

    def _of_incident(self, line: str, incident: re.Match[str], is_trouble: bool) -> str | None:
        """The line when it opens an incident that is not shown yet."""
        what = incident["what"]
        if incident["word"] == OVER_WORD:
            self._open.discard(what)
            return None
        if not is_trouble or what in self._open:
            return None
        self._open.add(what)
        return line

    def _is_trouble(self, line: str) -> bool:
        has_level = _TROUBLE.search(line) is not None
        if _RECORD.match(line):
            self._in_record = True
            self._in_traceback = False
            return has_level and not _EVENT_OF_A_RUN.search(line)
        if _TRACEBACK.match(line):
            self._in_traceback = not self._in_record
            return False
        if self._in_traceback:
            is_last = _EXCEPTION.match(line) is not None
            self._in_traceback = not is_last
            return is_last
        if self._in_record:
            return False
        return has_level or line.startswith("Error: ")

    def _once(self, line: str) -> str | None:
        kind = _VARIABLE.sub("#", line)
        now = self._clock()
        shown_at = self._shown_at.get(kind)
        if shown_at is not None and now - shown_at < REPEAT_SECONDS:
            self._not_shown[kind] += 1
            return None
        if len(self._shown_at) >= _MOST_KINDS:
            self._shown_at.clear()
        self._shown_at[kind] = now
        more = self._not_shown.pop(kind, 0)
        if not more:
            return line
        return f"{line}   ({more} more like it since the last one)"
