"""What the steps of one publish on Trino share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sync_pipelines.destinations.contradictions import refuse_contradictions
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.trino.merge import Statements, run_marker
from sync_pipelines.destinations.trino.place import Place
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.staging import Staging
from sync_pipelines.destinations.trino.vanished import Vanished, find_vanished
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.model.entity import Column
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.run import Mode, check_stage


@dataclass
class Work:
    """What the steps of one publish share.

    Attributes:
        is_hive: the table is appended to and swapped instead of merged.
        is_committed: the rows of the run are in the table.
    """

    cursor: Any
    place: Place
    request: PublishRequest
    read: ReadResult
    spool: Spool
    staging: Staging
    statements: Statements
    winners: int = 0
    counts: Counts = field(default_factory=Counts)
    vanished: Vanished = field(default_factory=Vanished)
    is_hive: bool = False
    is_committed: bool = False

    @property
    def session(self) -> Session:
        """Statements to the Trino of the table."""
        return self.place.session

    @property
    def staged_rows(self) -> int:
        """Good records of the run."""
        table = self.request.entity.records_table
        return self.spool.rows.get(table, 0)

    @property
    def marker(self) -> str:
        """Text that the writes of this run carry."""
        return run_marker(self.request)

    def compare(self) -> None:
        """What is new, changed, the same or stale, and which rows the source no longer has."""
        if self.winners:
            self.counts = read_counts(self.session, self.statements)
        check_stage("compare", self.winners, self.counts.staged)
        self.check()
        if self.request.mode is Mode.FULL:
            self.vanished = find_vanished(self)

    def check(self) -> None:
        """Stop a run whose records cannot be what they seem; see `destinations.contradictions`."""
        refuse_contradictions(
            self,
            self.request,
            self.read,
            self.counts,
        )

    def count_values(self, columns: list[Column]) -> list[int]:
        """See `destinations.emptied`."""
        statement = self.statements.count_values(columns)
        (values,) = self.session.query(statement)
        return values

    def contrary_pairs(self) -> list[Any]:
        """See `destinations.contrary`."""
        statement = self.statements.contrary_pairs()
        return self.session.query(statement)


def read_counts(session: Session, statements: Statements) -> Counts:
    """How the staged records compare with the table now."""
    numbers = dict(session.query(statements.compare()))
    return Counts(**numbers)
