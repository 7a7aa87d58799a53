"""What the steps of one publish on Trino share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sync_pipelines.destinations.contrary import refuse_contrary
from sync_pipelines.destinations.emptied import columns_to_check, refuse_emptied
from sync_pipelines.destinations.spool import Spool
from sync_pipelines.destinations.trino.merge import Statements, run_marker
from sync_pipelines.destinations.trino.session import Session
from sync_pipelines.destinations.trino.staging import Staging
from sync_pipelines.destinations.trino.vanished import Vanished, plan_vanished
from sync_pipelines.destinations.verdicts import Counts
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.run import Mode, check_stage


@dataclass
class Work:
    """What the steps of one publish share; `is_hive` tables are appended to and swapped instead of merged."""

    cursor: Any
    session: Session
    catalog: str
    request: PublishRequest
    read: ReadResult
    spool: Spool
    staging: Staging
    statements: Statements
    winners: int = 0
    counts: Counts = field(default_factory=Counts)
    vanished: Vanished = field(default_factory=Vanished)
    is_hive: bool = False

    @property
    def staged_rows(self) -> int:
        """Good records of the run."""
        return self.spool.rows.get(self.request.entity.records_table, 0)

    @property
    def marker(self) -> str:
        """Text that the writes of this run carry."""
        return run_marker(self.request)

    def compare(self) -> None:
        """What is new, changed, the same or stale, and which rows the source no longer has."""
        if self.winners:
            self.counts = read_counts(self.session, self.statements)
        check_stage("compare", self.winners, self.counts.staged)
        self.refuse_contradictions()
        if self.request.mode is Mode.FULL:
            self.vanished = plan_vanished(
                self.cursor, self.session, self.request, self.read, self.statements, self.staging
            )

    def refuse_contradictions(self) -> None:
        """Stop where a record contradicts the order of its row, or where no record has what the rows have."""
        columns = columns_to_check(self.request, self.read) if self.winners else []
        if columns:
            values = self.session.query(self.statements.count_values(columns))[0]
            names = [column.name for column in columns]
            refuse_emptied(self.request, self.read, dict(zip(names, values, strict=True)))
        if self.counts.contrary:
            pairs = [
                (theirs, ours)
                for theirs, ours in self.session.query(self.statements.contrary_pairs())
            ]
            refuse_contrary(self.request, self.read, self.counts.contrary, pairs)


def read_counts(session: Session, statements: Statements) -> Counts:
    """How the staged records compare with the table now."""
    return Counts(
        **{verdict: int(number) for verdict, number in session.query(statements.compare())}
    )
