"""Connections to PostgreSQL that this process keeps for its next statement, one pool for all addresses.

psycopg_pool opens and resets connections in further threads. A refused one would be a timeout without its reason,
and one that is given back is not there for the next statement, so a sync would open more of them and not fewer.
This pool never waits. Where no connection is kept, the caller opens one and sees why that fails.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import dict_row

KEEP_SECONDS = 30.0
"""How long a connection is kept that nobody uses, and how often that is looked at."""
ANSWER_SECONDS = 10.0
"""How long a kept connection has to answer before it counts as broken."""
MAX_AGE_SECONDS = 600.0
"""How long a connection is used at most, so that new defaults of role and database take effect."""
_SUCCESSES = frozenset({ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK})


class Session(psycopg.Connection[Any]):
    """A connection that may be lent: then `close` gives it back to its pool.

    Attributes:
        late_settings: statement that sets what could not be set when it was opened; empty when there is nothing.
        opened_at, idle_since: by the monotonic clock.
    """

    late_settings = ""
    opened_at = 0.0
    idle_since = 0.0
    _give_back: Callable[[], None] | None = None

    def lend(self, give_back: Callable[[], None]) -> None:
        """Call this instead of closing, the next time it is to be closed; who borrows it closes it once."""
        self._give_back = give_back

    def close(self) -> None:
        """Give the connection back where it is lent, else close it."""
        give_back = self._give_back
        self._give_back = None
        if give_back is None:
            super().close()
        else:
            give_back()


class Pool:
    """Idle connections by address. Each is handed to one user at a time, and comes back as new."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, list[Session]] = {}
        self._timer: threading.Timer | None = None

    def take(self, address: str, open_new: Callable[[], Session]) -> Session:
        """A kept connection that answers, or a new one.

        Args:
            address: connections of the same address are the same.
            open_new: opens one; its errors come through.
        """
        while (kept := self._pop(address)) is not None:
            if _answers(kept):
                return kept
            kept.close()
        return open_new()

    def give(self, address: str, kept: Session, most: int) -> None:
        """Keep a connection for the next user, or close it where it is broken, old, or one too many.

        Locks, settings, temporary tables and prepared statements of its last user are gone.
        """
        # A server that is only left releases the locks a moment later.
        is_new = _made_as_new(kept)
        age_seconds = time.monotonic() - kept.opened_at
        if not is_new or not most or age_seconds > MAX_AGE_SECONDS:
            kept.close()
            return
        kept.idle_since = time.monotonic()
        with self._lock:
            idle = self._idle.setdefault(address, [])
            has_place = len(idle) < most and self._look_later()
            if has_place:
                idle.append(kept)
        if not has_place:
            kept.close()

    def close(self) -> None:
        """Close every idle connection; those in use are closed or kept when they come back."""
        self._close_idle_longer_than(-1)

    def forget(self) -> None:
        """In a child process: the connections belong to the parent, and are neither used nor closed here."""
        self._lock = threading.Lock()
        self._idle = {}
        self._timer = None

    def _pop(self, address: str) -> Session | None:
        with self._lock:
            idle = self._idle.get(address)
            return idle.pop() if idle else None

    def _look_later(self) -> bool:
        """Whether somebody will look for connections that are idle for too long."""
        if self._timer is not None:
            return True
        timer = threading.Timer(KEEP_SECONDS, self._look)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            # The process may start no thread; what it has published must not fail for that.
            return False
        self._timer = timer
        return True

    def _look(self) -> None:
        with self._lock:
            self._timer = None
        self._close_idle_longer_than(KEEP_SECONDS)
        with self._lock:
            if any(self._idle.values()):
                self._look_later()

    def _close_idle_longer_than(self, seconds: float) -> None:
        last = time.monotonic() - seconds
        ended: list[Session] = []
        with self._lock:
            for idle in self._idle.values():
                ended += [kept for kept in idle if kept.idle_since < last]
                idle[:] = [kept for kept in idle if kept.idle_since >= last]
        for kept in ended:
            kept.close()


def _answers(kept: Session) -> bool:
    """Whether the session is still there; one question costs much less than a new session."""
    return _done_in_time(kept, "SELECT 1")


def _made_as_new(kept: Session) -> bool:
    if kept.closed:
        return False
    status = kept.info.transaction_status
    if status in (TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN):
        return False
    statements = ["DISCARD ALL"]
    if status is not TransactionStatus.IDLE:
        statements.insert(0, "ROLLBACK")
    if kept.late_settings:
        statements.append(kept.late_settings)
    if not all(_done_in_time(kept, statement) for statement in statements):
        return False
    kept.autocommit = True
    kept.row_factory = dict_row
    return True


def _done_in_time(kept: Session, statement: str) -> bool:
    """Run a statement outside of transactions; a server that does not answer costs no more than a new connection.

    A host that is gone answers nothing, and TCP would wait for a quarter of an hour.
    """
    socket = kept.pgconn
    try:
        socket.send_query(statement.encode())
        deadline = time.monotonic() + ANSWER_SECONDS
        while socket.flush() or socket.is_busy():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([socket.socket], [], [], left)[0]:
                socket.finish()
                return False
            socket.consume_input()
        answers = []
        while (answer := socket.get_result()) is not None:
            answers.append(answer.status)
    except psycopg.Error:
        return False
    return _SUCCESSES.issuperset(answers)


POOL = Pool()
atexit.register(POOL.close)
with contextlib.suppress(AttributeError):  # not on every system
    os.register_at_fork(after_in_child=POOL.forget)
