"""Merge staged records into the target: judge each by one join, then write only what differs."""

from __future__ import annotations

from typing import Any

from sync_pipelines.destinations.contradictions import refuse_contradictions
from sync_pipelines.destinations.contrary import contrary_pairs
from sync_pipelines.destinations.emptied import count_values
from sync_pipelines.destinations.postgres.dialect import POSTGRES
from sync_pipelines.destinations.postgres.fill import indexes_afterwards, is_empty
from sync_pipelines.destinations.rows import assignments, record_values, revised_values
from sync_pipelines.destinations.verdicts import Counts, age_among_records, rules_of
from sync_pipelines.model.entity import Column
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.run import Mode, check_stage
from sync_pipelines.model.staged import staged_keys
from sync_pipelines.model.tables import records_of, rejects_of, target_of


class Merge:
    """The statements of one merge; t is the target, s the staging, v the verdict on every pair of them."""

    def __init__(
        self,
        cursor: Any,
        request: PublishRequest,
        read: ReadResult,
    ) -> None:
        entity = request.entity
        self.cursor = cursor
        self.request = request
        self.read = read
        self.entity = entity
        self.target = target_of(entity)
        self.staging = records_of(entity)
        self.verdicts = self._table("verdicts")
        self.rules = rules_of(POSTGRES, request, read)
        self.match = self.rules.match
        self._is_empty = False

    def _table(self, part: str) -> str:
        """A table of the merge itself."""
        name = shorten_identifier(f"{self.entity.target_table}__{part}")
        return quote(self.entity.staging_schema, name)

    def count_staged(self) -> int:
        """Records in staging."""
        return self.number(f"SELECT count(*) FROM {self.staging}")

    def drop_superseded(self) -> int:
        """Keep the newest record of every key; returns how many others there were."""
        repeated = self._table("repeated")
        keys = ", ".join(staged_keys(self.entity))
        self.execute(
            f"CREATE UNLOGGED TABLE {repeated} AS SELECT {keys}, count(*) - 1 AS superseded"
            f" FROM {self.staging} GROUP BY {keys} HAVING count(*) > 1"
        )
        superseded = self.number(f"SELECT coalesce(sum(superseded), 0) FROM {repeated}")
        if superseded:
            self.execute(f"ANALYZE {repeated}")
            age = age_among_records(POSTGRES, self.request, self.read)
            aged = (
                f"SELECT ctid AS place, {age} AS age FROM {self.staging}"
                f" WHERE ({keys}) IN (SELECT {keys} FROM {repeated})"
            )
            dropped = self.execute(
                f"DELETE FROM {self.staging} s USING ({aged}) a"
                " WHERE s.ctid = a.place AND a.age > 1"
            )
            check_stage("superseded", superseded, dropped)
        self.execute(f"DROP TABLE {repeated}")
        return superseded

    def compare(self, winners: int) -> Counts:
        """Compare the staged records with the table; what a full read misses is only counted."""
        is_full = self.request.mode is Mode.FULL
        if winners == 0 and not is_full:
            return Counts()
        self._is_empty = is_empty(self.cursor, self.entity)
        if self._is_empty:
            return Counts(new=winners)
        self.execute(f"ANALYZE {self.staging}")
        counts = self._judge(is_full=is_full)
        refuse_contradictions(self, self.request, self.read, counts)
        return counts

    def write(self, counts: Counts) -> None:
        """Insert and update what differs."""
        if self._is_empty:
            with indexes_afterwards(self.cursor, self.entity, counts.new):
                inserted = self._insert(f"{self.staging} s")
            check_stage("insert", counts.new, inserted)
            return
        if counts.updated:
            check_stage("update", counts.updated, self._update())
        if counts.new:
            new = f"{self._judged_records} WHERE v.verdict = 'new'"
            check_stage("insert", counts.new, self._insert(new))

    def count_values(self, columns: list[Column]) -> list[int]:
        """See `destinations.emptied`."""
        joined = (
            f"{self.staging} s LEFT JOIN {self.target} t ON {self.match} AND NOT t._bridge_deleted"
        )
        self.cursor.execute(count_values(quote, columns, self.entity, joined))
        return list(self.cursor.fetchone())

    def contrary_pairs(self) -> list[Any]:
        """See `destinations.contrary`."""
        joined = f"{self._judged_records} JOIN {self.target} t ON t.ctid = v.row_at"
        self.cursor.execute(contrary_pairs(joined, "v.verdict = 'contrary'"))
        return list(self.cursor.fetchall())

    @property
    def _judged_records(self) -> str:
        return f"{self.verdicts} v JOIN {self.staging} s ON s.ctid = v.staged_at"

    def _judge(self, *, is_full: bool) -> Counts:
        """Compare by one join and keep the verdict on every record, and on every live row that a full read misses."""
        join = "FULL JOIN" if is_full else "LEFT JOIN"
        self.execute(
            f"CREATE UNLOGGED TABLE {self.verdicts} AS"
            f" SELECT s.ctid AS staged_at, t.ctid AS row_at, {self.rules.verdict} AS verdict"
            f" FROM {self.staging} s {join} {self.target} t ON {self.match}"
            " WHERE s.arrival IS NOT NULL OR NOT t._bridge_deleted"
        )
        self.execute(f"ANALYZE {self.verdicts}")
        self.cursor.execute(f"SELECT verdict, count(*) FROM {self.verdicts} GROUP BY verdict")
        return Counts(**dict(self.cursor.fetchall()))

    def _update(self) -> int:
        values = revised_values(POSTGRES, self.entity, "v.verdict <> 'touched'")
        return self.execute(
            f"UPDATE {self.target} t SET {assignments(values)} FROM {self._judged_records}"
            " WHERE t.ctid = v.row_at AND v.verdict IN ('changed', 'returned', 'touched')"
        )

    def _insert(self, source: str) -> int:
        values = record_values(quote, self.entity)
        return self.execute(
            f"INSERT INTO {self.target} ({', '.join(values)})"
            f" SELECT {', '.join(values.values())} FROM {source}"
        )

    def count_rows(self) -> int:
        """Live rows."""
        return self.number(f"SELECT count(*) FROM {self.target} WHERE NOT _bridge_deleted")

    def empty_staging(self, rejected: int) -> None:
        """Leave nothing of the records behind."""
        tables = [self.staging]
        if rejected:
            tables.append(rejects_of(self.entity))
        self.execute(f"TRUNCATE {', '.join(tables)}")
        self.execute(f"DROP TABLE IF EXISTS {self.verdicts}")

    def execute(self, statement: str) -> int:
        """Run a statement; returns the rows it touched."""
        self.cursor.execute(statement)
        return int(self.cursor.rowcount)

    def number(self, statement: str) -> int:
        """The single number of a query."""
        self.cursor.execute(statement)
        return int(self.cursor.fetchone()[0])
