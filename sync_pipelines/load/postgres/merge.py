"""Merge staged records into the target: compare by one join, then write only what differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sync_pipelines.load.plan import PublishPlan
from sync_pipelines.load.postgres.fill import indexes_afterwards, is_empty
from sync_pipelines.load.postgres.quoting import literal, quote
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import Column
from sync_pipelines.model.run import Mode, check_stage


@dataclass(frozen=True)
class Counts:
    """How the staged records compare with the table; `returned` are deleted rows that are back."""

    new: int = 0
    stale: int = 0
    changed: int = 0
    same: int = 0
    touched: int = 0
    returned: int = 0


class Merge:
    """The statements of one merge; t is the target, s the staging."""

    def __init__(self, cursor: Any, plan: PublishPlan) -> None:
        entity = plan.entity
        self.cursor, self.plan, self.entity = cursor, plan, entity
        self.target = quote(entity.target_schema, entity.target_table)
        self.staging = quote(entity.staging_schema, entity.records_table)
        self.rejects = quote(entity.staging_schema, entity.rejects_table)
        self.staged = {column.name: f"c{index}" for index, column in enumerate(entity.columns)}
        self.staged_keys = ", ".join(self.staged[column.name] for column in entity.business_keys)
        self.match = " AND ".join(f"t.{_q(column)} = s.{self.staged[column.name]}" for column in entity.business_keys)
        self.fingerprint = f"{entity.columns_fingerprint}:"

    def count_staged(self) -> int:
        """Records in staging."""
        return self.number(f"SELECT count(*) FROM {self.staging}")

    def count_rejects(self) -> int:
        """Rejects in staging, every reading of each."""
        return self.number(f"SELECT count(*) FROM {self.rejects}")

    def count_distinct_rejects(self) -> int:
        """The same bad record read twice is one record in quarantine."""
        return self.number(f"SELECT count(DISTINCT fingerprint) FROM {self.rejects}")

    def drop_superseded(self, staged: int) -> int:
        """Keep the newest record of every key: highest rowversion, then the one read last."""
        distinct = self.number(f"SELECT count(*) FROM (SELECT DISTINCT {self.staged_keys} FROM {self.staging}) d")
        if distinct == staged:
            return 0
        order = [f"{expression} DESC NULLS LAST" for expression in [self._order("rowversion")] if expression]
        dropped = self.execute(
            f"DELETE FROM {self.staging} s USING (SELECT ctid AS place, row_number() OVER (PARTITION BY {self.staged_keys}"
            f" ORDER BY {', '.join([*order, 'arrival DESC'])}) AS age FROM {self.staging}) a"
            " WHERE s.ctid = a.place AND a.age > 1"
        )
        check_stage("superseded", staged - distinct, dropped)
        return dropped

    def apply(self, winners: int) -> Counts:
        """Insert and update what differs."""
        if winners == 0:
            return Counts()
        if is_empty(self.cursor, self.entity):
            with indexes_afterwards(self.cursor, self.entity, winners):
                inserted = self._insert("")
            check_stage("insert", winners, inserted)
            return Counts(new=inserted)
        self.execute(f"ANALYZE {self.staging}")
        counts = self._compare()
        check_stage("compare", winners, counts.new + counts.stale + counts.changed + counts.same)
        if counts.changed or counts.touched:
            check_stage("update", counts.changed + counts.touched, self._update())
        if counts.new:
            missing = f" WHERE NOT EXISTS (SELECT 1 FROM {self.target} t WHERE {self.match})"
            check_stage("insert", counts.new, self._insert(missing))
        return counts

    def _compare(self) -> Counts:
        found, stale, changed, touched = self._conditions()
        self.cursor.execute(
            f"SELECT count(*) FILTER (WHERE NOT {found}), count(*) FILTER (WHERE {found} AND {stale}),"
            f" count(*) FILTER (WHERE {found} AND NOT {stale} AND {changed}),"
            f" count(*) FILTER (WHERE {found} AND NOT {stale} AND NOT {changed}),"
            f" count(*) FILTER (WHERE {found} AND NOT {stale} AND NOT {changed} AND {touched}),"
            f" count(*) FILTER (WHERE {found} AND NOT {stale} AND t._bridge_deleted)"
            f" FROM {self.staging} s LEFT JOIN {self.target} t ON {self.match}"
        )
        return Counts(*self.cursor.fetchone())

    def _conditions(self) -> tuple[str, str, str, str]:
        """SQL for: the key is known; the stored row is newer; the content differs; only rowversion or hash differ."""
        found = "(t._bridge_id IS NOT NULL)"
        theirs, ours = self._order("s.rowversion"), self._order("t._bridge_rowversion")
        guarded = theirs is not None and self.plan.mode is Mode.DELTA
        stale = f"coalesce({theirs} < {ours}, false)" if guarded else "false"
        columns = [column for column in self.entity.columns if not column.is_business_key]
        differs = " OR ".join(f"t.{_q(column)} IS DISTINCT FROM s.{self.staged[column.name]}" for column in columns) or "false"
        prefix = literal(self.fingerprint)
        changed = (
            f"(t._bridge_deleted OR CASE WHEN left(t._bridge_hash, {len(self.fingerprint)}) = {prefix}"
            f" THEN t._bridge_hash <> {prefix} || s.hash ELSE {differs} END)"
        )
        touched = (
            f"(t._bridge_rowversion IS DISTINCT FROM s.rowversion OR t._bridge_hash <> {prefix} || s.hash)"
        )
        return found, stale, changed, touched

    def _update(self) -> int:
        _, stale, changed, touched = self._conditions()
        columns = [column for column in self.entity.columns if not column.is_business_key]
        content = "".join(f"{_q(column)} = s.{self.staged[column.name]}, " for column in columns)
        return self.execute(
            f"UPDATE {self.target} t SET {content}_bridge_hash = {literal(self.fingerprint)} || s.hash,"
            f" _bridge_rowversion = s.rowversion, _bridge_deleted = false,"
            f" _bridge_updated_at = CASE WHEN {changed} THEN now() ELSE t._bridge_updated_at END"
            f" FROM {self.staging} s WHERE {self.match} AND NOT {stale} AND ({changed} OR {touched})"
        )

    def _insert(self, condition: str) -> int:
        names = ", ".join(_q(column) for column in self.entity.columns)
        values = ", ".join(f"s.{self.staged[column.name]}" for column in self.entity.columns)
        return self.execute(
            f"INSERT INTO {self.target} ({names}, _bridge_hash, _bridge_rowversion)"
            f" SELECT {values}, {literal(self.fingerprint)} || s.hash, s.rowversion FROM {self.staging} s{condition}"
        )

    def count_rows(self, gained: int) -> int:
        """Live rows: counted after full reads, carried forward otherwise."""
        if self.plan.mode is Mode.DELTA and self.entity.row_count is not None:
            return self.entity.row_count + gained
        return self.number(f"SELECT count(*) FROM {self.target} WHERE NOT _bridge_deleted")

    def empty_staging(self, rejected: int) -> None:
        """Leave nothing of the records behind."""
        self.execute(f"TRUNCATE {self.staging}" + (f", {self.rejects}" if rejected else ""))

    def _order(self, expression: str) -> str | None:
        """SQL that orders rowversions as the codec does; None when only the source knows.

        A read by page number takes rowversions of any form, and such rows may still stand in the table: what is not
        of the codec becomes NULL instead of an error.
        """
        match self.plan.codec if self.plan.keyset else None:
            case Codec.INTEGER:
                return f"CASE WHEN {expression} ~ '^-?[0-9]+$' THEN ({expression})::numeric END"
            case Codec.HEX:
                return f"""lpad(lower(regexp_replace({expression}, '^0[xX]', '')), 64, '0') COLLATE "C" """
            case Codec.TIMESTAMP:
                return f"CASE WHEN {expression} ~ '^[0-9]{{4}}-' THEN replace({expression}, ',', '.')::timestamptz END"
            case Codec.TEXT | Codec.DIGITS:
                return f'({expression}) COLLATE "C"'
        return None

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
