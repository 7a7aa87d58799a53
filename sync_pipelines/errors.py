"""Every error of sync_pipelines, grouped by what can be done about it.

SyncError
 ├─ RetriableError            try again later, nothing to change
 │   ├─ SourceUnreachableError      connection refused, DNS, timeout, reset
 │   ├─ SourceBusyError             429 and 5xx after all tries
 │   ├─ NoTurnError                 the connector's rate limit gives no turn soon enough
 │   ├─ BrokenPageError             cut, undecodable or wrongly shaped answer
 │   ├─ IncompleteAnswerError       too few of the ids that were asked for came back good
 │   ├─ EntityBusyError             another run holds this entity
 │   ├─ InterruptedRunError         somebody cancelled the run
 │   └─ DatabaseUnavailableError    connection lost, deadlock, disk full, ...
 │       └─ DatabaseConnectionsError  no connection left: server or pool exhausted
 ├─ ConfigurationError        somebody must change something first
 │   ├─ SettingsError               a setting, file or argument is wrong
 │   ├─ SecretMissingError          a secret reference resolves to nothing
 │   ├─ AuthenticationError         the source refused the token
 │   ├─ SourceContractError         the source does not speak the protocol
 │   ├─ GuardError                  an address or size the connector does not allow
 │   ├─ RunLimitError               a run would take more than it may
 │   ├─ UnknownTypeError            a declared column type we do not know
 │   ├─ EntityDefinitionError       an entity that cannot become a table
 │   ├─ GateDefinitionError         a gate's file is wrong
 │   ├─ MaskLostError               an entity was masked and is not any more
 │   ├─ SchemaDriftError            a change of the source that needs a decision
 │   ├─ NotFoundError               no such connector, entity or run
 │   └─ DatabaseRefusedError        missing privilege, read-only, altered table
 ├─ RecordError               one record is bad; it goes to quarantine, the others pass
 └─ FatalError                our own promise would be broken; nothing was published
     ├─ LedgerError                 a run does not balance
     ├─ CursorProtocolError         rowversions are out of order or go back
     │   └─ UnsortedPageError           a page is not sorted by its rowversions
     └─ SupersededRunError          another run took over while this one worked
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Category(StrEnum):
    """What an error is about; alerts go by it and not by the name of a class.

    ===========  =============================================================================
    unreachable  the source did not answer, or was too busy on every try
    answered     the source answered, and what it said cannot be used
    decision     somebody has to decide; the entity shows what
    database     the destination or the catalog failed
    connections  it had no connection left
    busy         somebody else works on it, or it is not its turn: nothing is wrong
    cancelled    a person ended it
    died         the process ended before the run did
    setup        a setting, a secret or a file of ours is wrong or missing
    other        anything else
    ===========  =============================================================================
    """

    UNREACHABLE = "unreachable"
    ANSWERED = "answered"
    DECISION = "decision"
    DATABASE = "database"
    CONNECTIONS = "connections"
    BUSY = "busy"
    CANCELLED = "cancelled"
    DIED = "died"
    SETUP = "setup"
    OTHER = "other"


# What an error of a category says about the source, unless the error itself knows better.
_ANSWERED = {Category.ANSWERED: True, Category.DECISION: True, Category.UNREACHABLE: False}


class SyncError(Exception):
    """Base of all our errors: what happened, where, in what state we are, and what to type next.

    Attributes:
        code: what kind of error it is, for programs; it stays when a class or a text is changed.
        status: HTTP status of the source's answer, where there was one.
        answered: True where the source answered, even by a refusal; False where it did not, or only that it is too
            busy; None where it was not asked, or where it is not known.
        excerpt: how the answer begins, which `what` ends with; None where it does not quote the answer.
        without_excerpt: `what` without that.
        where: place of the failure, for example {"connector": "erp", "entity": "items", "page": 7, "key": "A1"}.
        state: what is true now ("cursor not moved, table unchanged"); empty where nothing was going to change.
        next_command: the command a person would type next, or None.
    """

    code = "sync_failed"
    default_state = ""
    exit_code = 1
    category = Category.OTHER

    def __init__(
        self,
        what: str,
        *,
        where: dict[str, Any] | None = None,
        state: str | None = None,
        next_command: str | None = None,
        status: int | None = None,
        answered: bool | None = None,
        excerpt: str | None = None,
    ) -> None:
        self.what = what if excerpt is None else f"{what}; it begins: {excerpt}"
        self.without_excerpt = what
        self.excerpt = excerpt
        self.where = dict(where or {})
        self.state = state if state is not None else self.default_state
        self.next_command = next_command
        self.status = status
        self.answered = _ANSWERED.get(self.category) if answered is None else answered
        super().__init__(self.what)

    def at(self, **where: Any) -> SyncError:
        """Add places that only an outer caller knows; places already named win."""
        self.where = {**where, **self.where}
        return self

    def leaves(self, state: str) -> SyncError:
        """Name the state that things are in, where no inner caller has named it."""
        self.state = self.state or state
        return self

    def __str__(self) -> str:
        parts = [_sentence(self.what)]
        if self.where:
            places = [f"{name} {value}" for name, value in self.where.items()]
            parts.append(f"Where: {', '.join(places)}.")
        if self.state:
            parts.append(_sentence(self.state))
        if self.next_command:
            parts.append(f"Next: {self.next_command}")
        return " ".join(parts)

    def details(self) -> dict[str, Any]:
        """The error as JSON-ready data for `bridge.sync_runs.error_details` and `--json`."""
        return {
            "error": type(self).__name__,
            "code": self.code,
            "status": self.status,
            "answered": self.answered,
            "what": self.what,
            "where": {name: str(value) for name, value in self.where.items()},
            "state": self.state,
            "next_command": self.next_command,
            "retriable": isinstance(self, RetriableError),
            "category": str(self.category),
            "exit_code": self.exit_code,
        }


def _sentence(text: str) -> str:
    """A text that ends as a sentence does, so that another one can follow."""
    stripped = text.rstrip()
    if not stripped or stripped.endswith((".", "!", "?", ":", "…")):
        return text
    return f"{stripped}."


UNPUBLISHED = "Nothing was published: table and cursor are as before."
"""The state after a run that failed."""


class RetriableError(SyncError):
    """A passing trouble: the same call may work later."""

    code = "passing_trouble"


class SourceUnreachableError(RetriableError):
    """The source did not answer: refused, DNS, TLS handshake cut, timeout, reset."""

    code = "source_unreachable"
    category = Category.UNREACHABLE


class SourceBusyError(RetriableError):
    """The source answered 429 or 5xx on every try."""

    code = "source_busy"
    category = Category.UNREACHABLE
    retry_after_seconds: float | None = None
    """Seconds that the source asks for; None when it names none."""


class NoTurnError(RetriableError):
    """Nothing was asked: the rate limit of the connector gives no turn soon enough."""

    code = "no_turn"
    category = Category.BUSY


class BrokenPageError(RetriableError):
    """An answer that is not a page: cut body, wrong content, wrong envelope."""

    code = "broken_page"
    category = Category.ANSWERED


class IncompleteAnswerError(RetriableError):
    """Too few of the records that were asked for by their ids came back, verified and not empty.

    The next run may find more; as with every `incomplete` run somebody should look, so the exit code is the same.
    """

    code = "incomplete_answer"
    category = Category.ANSWERED
    exit_code = 3


class EntityBusyError(RetriableError):
    """Another run is writing this entity; an entity never overlaps itself."""

    code = "entity_busy"
    category = Category.BUSY


class InterruptedRunError(RetriableError):
    """Somebody cancelled the run while it was reading."""

    code = "cancelled"
    category = Category.CANCELLED


class DatabaseUnavailableError(RetriableError):
    """The destination failed in a way that passes: connection, deadlock, lock timeout, disk full."""

    code = "database_unavailable"
    category = Category.DATABASE


class DatabaseConnectionsError(DatabaseUnavailableError):
    """No connection is left: the server's limit, the role's limit, or a pool is exhausted."""

    code = "database_connections"
    category = Category.CONNECTIONS


class ConfigurationError(SyncError):
    """Somebody has to change a setting, the source or the table before it can work."""

    code = "configuration"
    category = Category.SETUP
    exit_code = 3


class SettingsError(ConfigurationError):
    """A setting or argument has a value that we cannot use."""

    code = "settings"
    exit_code = 2


class SecretMissingError(ConfigurationError):
    """A secret reference (`env:NAME`) resolves to nothing."""

    code = "secret_missing"


class AuthenticationError(ConfigurationError):
    """The source refused the token (401, 403)."""

    code = "authentication"
    category = Category.ANSWERED


class SourceContractError(ConfigurationError):
    """The source answered, but not in the protocol of its connector."""

    code = "source_contract"
    category = Category.ANSWERED


class GuardError(ConfigurationError):
    """A URL, redirect, size or depth outside of what the connector allows."""

    code = "guard"


class RunLimitError(ConfigurationError):
    """A run would take more rows, bytes, seconds, memory or disk than it may."""

    code = "run_limit"


class UnknownTypeError(ConfigurationError):
    """A declared column type that has no exact image in the destination."""

    code = "unknown_type"
    category = Category.ANSWERED


class EntityDefinitionError(ConfigurationError):
    """Metadata that cannot become a table: no key, colliding or reserved names, too many columns."""

    code = "entity_definition"
    category = Category.ANSWERED


class GateDefinitionError(ConfigurationError):
    """A file of a gate (rules, decision table, masks) that cannot be used; names file, line and key."""

    code = "gate_definition"


class MaskLostError(ConfigurationError):
    """Masks that an entity was stored with are not configured any more.

    Its clear values must not be stored by accident.
    """

    code = "mask_lost"


class SchemaDriftError(ConfigurationError):
    """The source changed in a way that would lose or reinterpret data; carries the plan."""

    code = "schema_drift"
    category = Category.DECISION


class NotFoundError(ConfigurationError):
    """No such connector, entity or run in the catalog."""

    code = "not_found"
    exit_code = 2


class DatabaseRefusedError(ConfigurationError):
    """The database refused for good: privilege, read-only, a table somebody altered."""

    code = "database_refused"
    category = Category.DATABASE


class RecordError(SyncError):
    """One record cannot be stored as declared; it goes to quarantine with this reason."""

    code = "record"
    category = Category.ANSWERED
    default_state = "The record is in quarantine; the others passed."

    def __init__(self, what: str, *, column: str | None = None, **kwargs: Any) -> None:
        super().__init__(what, **kwargs)
        self.column = column


class FatalError(SyncError):
    """Going on would break the promise, so the run stops."""

    code = "fatal"


class LedgerError(FatalError):
    """Counts of the stages disagree; names the stage that lost count."""

    code = "ledger"
    category = Category.ANSWERED

    def __init__(self, what: str, *, counts: str | None = None, **kwargs: Any) -> None:
        """`counts`: what came in and went out, without the advice that `what` adds."""
        super().__init__(what, **kwargs)
        self.counts = counts or what


class CursorProtocolError(FatalError):
    """Rowversions are missing, out of order, of changing width, or went back."""

    code = "cursor_protocol"
    category = Category.ANSWERED
    exit_code = 3


class UnsortedPageError(CursorProtocolError):
    """The records of a page are not in the order of their rowversions.

    Attributes:
        is_certain: False when changes of the source during the read might look the same.
    """

    code = "unsorted_page"
    is_certain = True


class SupersededRunError(FatalError):
    """The run was declared dead while it worked; its publish is refused."""

    code = "superseded_run"
    category = Category.BUSY


# Of the error that the next run of an entity writes into the books of one that never ended.
DIED_CODE = "process_died"
# Of an error that is none of ours.
UNEXPECTED_CODE = "unexpected"


def category_of(written: str | None) -> Category:
    """The category of an error as it was written down; OTHER where none was, or where a later version wrote it."""
    return Category(written) if written in set(Category) else Category.OTHER
