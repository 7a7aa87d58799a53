"""Merge staged records into the target: judge each by one join, then write only what differs."""

from __future__ import annotations

from typing import Any

from sync_pipelines.books.rejects import staged_rejects
from sync_pipelines.destinations.contrary import refuse_contrary
from sync_pipelines.destinations.emptied import columns_to_check, refuse_emptied
from sync_pipelines.destinations.postgres.fill import indexes_afterwards, is_empty
from sync_pipelines.destinations.postgres.order import order_of
from sync_pipelines.destinations.verdicts import Counts, Dialect, rules_of
from sync_pipelines.model.entity import REJECTED_COLUMN, Column
from sync_pipelines.model.names import shorten_identifier
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.quoting import literal, quote
from sync_pipelines.model.run import Mode, check_stage

DIALECT = Dialect(quote, literal, order_of)


class Merge:
    """The statements of one merge; t is the target, s the staging, v the verdict on every pair of them."""

    def __init__(self, cursor: Any, request: PublishRequest, read: ReadResult) -> None:
        entity = request.entity
        self.cursor, self.request, self.read, self.entity = cursor, request, read, entity
        self.target = quote(entity.target_schema, entity.target_table)
        self.staging = quote(entity.staging_schema, entity.records_table)
        self.verdicts = quote(
            entity.staging_schema, shorten_identifier(f"{entity.target_table}__verdicts")
        )
        self._repeated = quote(
            entity.staging_schema, shorten_identifier(f"{entity.target_table}__repeated")
        )
        self.staged = {column.name: f"c{index}" for index, column in enumerate(entity.columns)}
        self.staged_keys = ", ".join(self.staged[column.name] for column in entity.business_keys)
        self.rules = rules_of(DIALECT, request, read)
        self.match = self.rules.match
        self._is_empty = False
        self.fingerprint = f"{entity.columns_fingerprint}:"

    def count_staged(self) -> int:
        """Records in staging."""
        return self.number(f"SELECT count(*) FROM {self.staging}")

    def drop_superseded(self) -> int:
        """Keep the newest record of every key: highest rowversion, then the one read last."""
        self.execute(
            f"CREATE UNLOGGED TABLE {self._repeated} AS SELECT {self.staged_keys}, count(*) - 1 AS superseded"
            f" FROM {self.staging} GROUP BY {self.staged_keys} HAVING count(*) > 1"
        )
        superseded = self.number(f"SELECT coalesce(sum(superseded), 0) FROM {self._repeated}")
        if superseded:
            self.execute(f"ANALYZE {self._repeated}")
            order = [
                f"{expression} DESC NULLS LAST"
                for expression in [self.order("rowversion")]
                if expression
            ]
            dropped = self.execute(
                f"DELETE FROM {self.staging} s USING (SELECT ctid AS place, row_number() OVER (PARTITION BY"
                f" {self.staged_keys}"
                f" ORDER BY {', '.join([*order, 'arrival DESC'])}) AS age FROM {self.staging}"
                f" WHERE ({self.staged_keys}) IN (SELECT {self.staged_keys} FROM {self._repeated})) a"
                " WHERE s.ctid = a.place AND a.age > 1"
            )
            check_stage("superseded", superseded, dropped)
        self.execute(f"DROP TABLE {self._repeated}")
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
        self._refuse_emptied()
        counts = self._judge(is_full=is_full)
        if counts.contrary:
            refuse_contrary(self.request, self.read, counts.contrary, self._contrary_pairs())
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
            new = f"{self.verdicts} v JOIN {self.staging} s ON s.ctid = v.staged_at WHERE v.verdict = 'new'"
            check_stage("insert", counts.new, self._insert(new))

    def _refuse_emptied(self) -> None:
        columns = columns_to_check(self.request, self.read)
        if not columns:
            return
        sent = (
            f"EXISTS (SELECT 1 FROM {self.staging} e WHERE e.{self.staged[column.name]} IS NOT NULL)"
            for column in columns
        )
        lost = (
            f"CASE WHEN {one} THEN 0 ELSE count(t.{_q(column)}) END"
            for one, column in zip(sent, columns, strict=True)
        )
        has_any = " OR ".join(f"t.{_q(column)} IS NOT NULL" for column in columns)
        self.cursor.execute(
            f"SELECT {', '.join(lost)} FROM {self.staging} s JOIN {self.target} t ON {self.match}"
            f" WHERE NOT t._bridge_deleted AND ({has_any})"
        )
        names = [column.name for column in columns]
        values = dict(zip(names, self.cursor.fetchone(), strict=True))
        refuse_emptied(self.request, self.read, values)

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

    def _contrary_pairs(self) -> list[tuple[str, str]]:
        """Some rowversions of contrary records, with those of their rows."""
        self.cursor.execute(
            f"SELECT s.rowversion, t._bridge_rowversion FROM {self.verdicts} v JOIN {self.staging} s"
            " ON s.ctid = v.staged_at"
            f" JOIN {self.target} t ON t.ctid = v.row_at WHERE v.verdict = 'contrary' ORDER BY 1 LIMIT 3"
        )
        return [(theirs, ours) for theirs, ours in self.cursor.fetchall()]

    def _update(self) -> int:
        columns = [column for column in self.entity.columns if not column.is_business_key]
        content = "".join(f"{_q(column)} = s.{self.staged[column.name]}, " for column in columns)
        content += "".join(f"{column} = s.{name}, " for name, column in self.entity.flags.items())
        content += f"{REJECTED_COLUMN} = NULL, " if self.entity.has_rejected else ""
        return self.execute(
            f"UPDATE {self.target} t SET {content}_bridge_hash = {literal(self.fingerprint)} || s.hash,"
            f" _bridge_rowversion = s.rowversion, _bridge_deleted = false,"
            f" _bridge_updated_at = CASE WHEN v.verdict = 'touched' THEN t._bridge_updated_at ELSE now() END"
            f" FROM {self.verdicts} v JOIN {self.staging} s ON s.ctid = v.staged_at"
            " WHERE t.ctid = v.row_at AND v.verdict IN ('changed', 'returned', 'touched')"
        )

    def _insert(self, source: str) -> int:
        flags = self.entity.flags
        names = ", ".join([*(_q(column) for column in self.entity.columns), *flags.values()])
        values = ", ".join(
            f"s.{name}"
            for name in [*(self.staged[column.name] for column in self.entity.columns), *flags]
        )
        return self.execute(
            f"INSERT INTO {self.target} ({names}, _bridge_hash, _bridge_rowversion)"
            f" SELECT {values}, {literal(self.fingerprint)} || s.hash, s.rowversion FROM {source}"
        )

    def count_rows(self, gained: int) -> int:
        """Live rows: counted after full reads, carried forward otherwise."""
        if self.request.mode is Mode.DELTA and self.entity.position.row_count is not None:
            return self.entity.position.row_count + gained
        return self.number(f"SELECT count(*) FROM {self.target} WHERE NOT _bridge_deleted")

    def empty_staging(self, rejected: int) -> None:
        """Leave nothing of the records behind."""
        tables = [self.staging, *([staged_rejects(self.request)] if rejected else [])]
        self.execute(f"TRUNCATE {', '.join(tables)}")
        self.execute(f"DROP TABLE IF EXISTS {self.verdicts}")

    def order(self, expression: str) -> str | None:
        """SQL that orders rowversions as the codec does; None when only the source knows."""
        return order_of(self.read.order, expression)

    def execute(self, statement: str) -> int:
        """Run a statement; returns the rows it touched."""
        self.cursor.execute(statement)
        return int(self.cursor.rowcount)

    def number(self, statement: str) -> int:
        """The single number of a query."""
        self.cursor.execute(statement)
        return int(self.cursor.fetchone()[0])


def _q(column: Column) -> str:
    return quote(column.target_name)
