"""The publish step: rows, ledger, quarantine and cursor become visible in one transaction, or none of them does.

Every count is taken twice, by independent statements, and compared; a difference rolls everything back.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import psycopg2

from sync_pipelines.errors import SupersededRunError, VanishedShareError
from sync_pipelines.load.plan import Outcome, PublishPlan
from sync_pipelines.load.postgres.books import close_books, move_rejects
from sync_pipelines.load.postgres.quoting import literal, quote
from sync_pipelines.load.postgres.target import constraint_names, constraint_statements
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.run import Ledger, Mode, check_stage

logger = logging.getLogger(__name__)

BULK_ROWS = 5_000
_SESSION = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "extra_float_digits": "1",
    "work_mem": "128MB",
    "maintenance_work_mem": "256MB",
}


def publish(cursor: Any, plan: PublishPlan) -> Outcome:
    """Merge the staged records of a plan; the caller owns the transaction.

    Args:
        cursor: a psycopg2 cursor inside the transaction that also writes dlt's load row.
        plan: what was extracted and where the cursor goes.

    Raises:
        LedgerError: two counts of a stage differ.
        VanishedShareError: a full read misses too many live rows.
        SupersededRunError: the run was closed by another one.
    """
    for name, value in _SESSION.items():
        cursor.execute(f"SET LOCAL {name} = {literal(value)}")
    _fence(cursor, plan)
    merge = _Merge(cursor, plan)
    staged, rejected = merge.count_staged(), merge.count_rejects()
    check_stage("load", plan.fetched, plan.reread + staged + rejected)
    check_stage("quarantine", plan.rejected + plan.copy_rejected, rejected)
    quarantined = merge.count_distinct_rejects()
    superseded = merge.drop_superseded(staged)
    counts = merge.apply(staged - superseded)
    gained = counts.new + counts.returned
    deleted, missing = merge.delete_vanished(gained) if plan.mode is Mode.FULL else (0, 0)
    ledger = Ledger(
        fetched=plan.fetched,
        inserted=counts.new,
        updated=counts.changed,
        unchanged=counts.same,
        superseded=plan.reread + superseded + counts.stale + rejected - quarantined,
        quarantined=quarantined,
        deleted=deleted,
    )
    check_stage("quarantine", quarantined, move_rejects(cursor, plan))
    row_count = merge.count_rows(gained - deleted)
    outcome = Outcome(ledger, row_count, missing)
    close_books(cursor, plan, outcome)
    merge.empty_staging(rejected)
    return outcome


def _fence(cursor: Any, plan: PublishPlan) -> None:
    cursor.execute(
        f"SELECT status FROM {quote(plan.bridge_schema)}.sync_runs WHERE uid = {literal(str(plan.run_uid))} FOR UPDATE"
    )
    row = cursor.fetchone()
    if row is None or row[0] != "running":
        raise SupersededRunError(
            f"The run {plan.run_uid} was closed by another one while it worked.",
            where=dict(plan.entity.where),
            next_command=f"sync-pipelines runs {plan.entity.path}",
        )


@dataclass(frozen=True)
class _Counts:
    """How the staged records compare with the table; `returned` are deleted rows that are back."""

    new: int = 0
    stale: int = 0
    changed: int = 0
    same: int = 0
    touched: int = 0
    returned: int = 0


class _Merge:
    """The statements of one merge; t is the target, s the staging."""

    def __init__(self, cursor: Any, plan: PublishPlan) -> None:
        entity = plan.entity
        self.cursor, self.plan, self.entity = cursor, plan, entity
        self.target = quote(entity.target_schema, entity.target_table)
        self.staging = quote(entity.staging_schema, entity.target_table)
        self.rejects = quote(entity.staging_schema, entity.rejects_table)
        self.staged = {column.name: f"c{index}" for index, column in enumerate(entity.columns)}
        self.staged_keys = ", ".join(self.staged[column.name] for column in entity.business_keys)
        self.match = " AND ".join(f"t.{_q(column)} = s.{self.staged[column.name]}" for column in entity.business_keys)
        self.fingerprint = f"{entity.columns_fingerprint}:"

    def count_staged(self) -> int:
        return self._number(f"SELECT count(*) FROM {self.staging}")

    def count_rejects(self) -> int:
        return self._number(f"SELECT count(*) FROM {self.rejects}")

    def count_distinct_rejects(self) -> int:
        """The same bad record read twice is one record in quarantine."""
        return self._number(f"SELECT count(DISTINCT fingerprint) FROM {self.rejects}")

    def drop_superseded(self, staged: int) -> int:
        """Keep the newest record of every key: highest rowversion, then the one read last."""
        distinct = self._number(f"SELECT count(*) FROM (SELECT DISTINCT {self.staged_keys} FROM {self.staging}) d")
        if distinct == staged:
            return 0
        order = [f"{expression} DESC NULLS LAST" for expression in [self._order("rowversion")] if expression]
        dropped = self._execute(
            f"DELETE FROM {self.staging} s USING (SELECT ctid AS place, row_number() OVER (PARTITION BY {self.staged_keys}"
            f" ORDER BY {', '.join([*order, 'arrival DESC'])}) AS age FROM {self.staging}) a"
            " WHERE s.ctid = a.place AND a.age > 1"
        )
        check_stage("superseded", staged - distinct, dropped)
        return dropped

    def apply(self, winners: int) -> _Counts:
        """Insert and update what differs."""
        if winners == 0:
            return _Counts()
        if self._number(f"SELECT count(*) FROM (SELECT 1 FROM {self.target} LIMIT 1) x") == 0:
            inserted = self._bulk_insert() if winners >= BULK_ROWS else self._insert("")
            check_stage("insert", winners, inserted)
            return _Counts(new=inserted)
        self._execute(f"ANALYZE {self.staging}")
        counts = self._compare()
        check_stage("compare", winners, counts.new + counts.stale + counts.changed + counts.same)
        if counts.changed or counts.touched:
            check_stage("update", counts.changed + counts.touched, self._update())
        if counts.new:
            missing = f" WHERE NOT EXISTS (SELECT 1 FROM {self.target} t WHERE {self.match})"
            check_stage("insert", counts.new, self._insert(missing))
        return counts

    def _compare(self) -> _Counts:
        found, stale, changed, touched = self._conditions()
        self.cursor.execute(
            f"SELECT count(*) FILTER (WHERE NOT {found}), count(*) FILTER (WHERE {found} AND {stale}),"
            f" count(*) FILTER (WHERE {found} AND NOT {stale} AND {changed}),"
            f" count(*) FILTER (WHERE {found} AND NOT {stale} AND NOT {changed}),"
            f" count(*) FILTER (WHERE {found} AND NOT {stale} AND NOT {changed} AND {touched}),"
            f" count(*) FILTER (WHERE {found} AND NOT {stale} AND t._bridge_deleted)"
            f" FROM {self.staging} s LEFT JOIN {self.target} t ON {self.match}"
        )
        return _Counts(*self.cursor.fetchone())

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
        return self._execute(
            f"UPDATE {self.target} t SET {content}_bridge_hash = {literal(self.fingerprint)} || s.hash,"
            f" _bridge_rowversion = s.rowversion, _bridge_deleted = false,"
            f" _bridge_updated_at = CASE WHEN {changed} THEN now() ELSE t._bridge_updated_at END"
            f" FROM {self.staging} s WHERE {self.match} AND NOT {stale} AND ({changed} OR {touched})"
        )

    def _insert(self, condition: str) -> int:
        names = ", ".join(_q(column) for column in self.entity.columns)
        values = ", ".join(f"s.{self.staged[column.name]}" for column in self.entity.columns)
        return self._execute(
            f"INSERT INTO {self.target} ({names}, _bridge_hash, _bridge_rowversion)"
            f" SELECT {values}, {literal(self.fingerprint)} || s.hash, s.rowversion FROM {self.staging} s{condition}"
        )

    def _bulk_insert(self) -> int:
        """Fill an empty table and build its indexes afterwards, which takes half the time."""
        self._execute("SAVEPOINT before_bulk")
        try:
            primary, business, index = constraint_names(self.entity)
            self._execute(f"DROP INDEX IF EXISTS {quote(self.entity.target_schema, index)}")
            for constraint in (primary, business):
                self._execute(f"ALTER TABLE {self.target} DROP CONSTRAINT IF EXISTS {quote(constraint)}")
        except psycopg2.Error as error:
            # Somebody's foreign key or view needs the constraint: keep it and insert the slow way.
            logger.info("constraints of %s stay while it is filled: %s", self.entity.table, error)
            self._execute("ROLLBACK TO SAVEPOINT before_bulk")
            return self._insert("")
        inserted = self._insert("")
        for statement in constraint_statements(self.entity):
            self._execute(statement)
        return inserted

    def delete_vanished(self, gained: int) -> tuple[int, int]:
        """Soft-delete live rows that a full read did not see.

        A key that is in quarantine is at the source. Without rowversions a row may hide between two pages while
        others are deleted, so it must be missed by two reads in a row.

        Args:
            gained: rows that this run made live; all others were live before it.

        Returns:
            Deleted rows, and rows that are missing for the first time.
        """
        live = self._number(f"SELECT count(*) FROM {self.target} t WHERE NOT t._bridge_deleted") - gained
        if live == 0:
            return 0, 0
        absent = f"NOT t._bridge_deleted AND NOT EXISTS (SELECT 1 FROM {self.staging} s WHERE {self.match})" + self._held()
        vanished = self._number(f"SELECT count(*) FROM {self.target} t WHERE {absent}")
        share = self.entity.max_vanished_share
        if vanished > share * live and not self.plan.accept_vanished:
            raise VanishedShareError(
                f"A full read misses {vanished} of {live} live rows, more than the share of {share:g} that may vanish at once.",
                where=dict(self.entity.where),
                next_command=f"sync-pipelines sync {self.entity.path} --full-refresh --accept-vanished, if it is true",
            )
        absences, entity = f"{quote(self.plan.bridge_schema)}.absences", literal(str(self.entity.uid))
        missing = 0
        if not self.plan.keyset:
            missed_before = f"t._bridge_id IN (SELECT row_id FROM {absences} WHERE entity_uid = {entity})"
            twice = self._number(f"SELECT count(*) FROM {self.target} t WHERE {absent} AND {missed_before}")
            self._execute(
                f"INSERT INTO {absences} (entity_uid, row_id) SELECT {entity}, t._bridge_id FROM {self.target} t"
                f" WHERE {absent} AND NOT {missed_before}"
            )
            vanished, missing = twice, vanished - twice
            absent = f"{absent} AND {missed_before} AND t._bridge_id NOT IN (SELECT row_id FROM {absences} WHERE entity_uid = {entity} AND since = now())"
        delete = f"UPDATE {self.target} t SET _bridge_deleted = true, _bridge_updated_at = now() WHERE {absent}"
        deleted = self._execute(delete) if vanished else 0
        check_stage("vanished", vanished, deleted)
        self._execute(
            f"DELETE FROM {absences} a USING {self.target} t WHERE a.entity_uid = {entity} AND t._bridge_id = a.row_id"
            f" AND (t._bridge_deleted OR EXISTS (SELECT 1 FROM {self.staging} s WHERE {self.match}))"
        )
        return deleted, missing

    def _held(self) -> str:
        keys = " AND ".join(
            f"t.{_q(column)} = (r.business_key->>{index})::{column.type.sql}"
            for index, column in enumerate(self.entity.business_keys)
        )
        return f" AND NOT EXISTS (SELECT 1 FROM {self.rejects} r WHERE r.business_key IS NOT NULL AND {keys})"

    def count_rows(self, gained: int) -> int:
        """Live rows: counted after full reads, carried forward otherwise."""
        if self.plan.mode is Mode.DELTA and self.entity.row_count is not None:
            return self.entity.row_count + gained
        return self._number(f"SELECT count(*) FROM {self.target} WHERE NOT _bridge_deleted")

    def empty_staging(self, rejected: int) -> None:
        """Leave nothing of the records behind."""
        self._execute(f"TRUNCATE {self.staging}" + (f", {self.rejects}" if rejected else ""))

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

    def _execute(self, statement: str) -> int:
        self.cursor.execute(statement)
        return int(self.cursor.rowcount)

    def _number(self, statement: str) -> int:
        self.cursor.execute(statement)
        return int(self.cursor.fetchone()[0])


def _q(column: Column) -> str:
    return quote(column.target_name)


def duplicate_keys(cursor: Any, entity: Entity) -> int:
    """Keys that stand more than once in the table: 0 while its key constraint is whole, counted when it is not."""
    cursor.execute(
        """
        SELECT 1 FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_index i ON i.indexrelid = k.conindid
        WHERE n.nspname = %s AND c.relname = %s AND k.conname = %s AND k.contype = 'u' AND i.indisunique AND i.indisvalid
        """,
        (entity.target_schema, entity.target_table, constraint_names(entity)[1]),
    )
    if cursor.fetchone() is not None:
        return 0
    keys = ", ".join(_q(column) for column in entity.business_keys)
    cursor.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {quote(entity.target_schema, entity.target_table)}"
        f" GROUP BY {keys} HAVING count(*) > 1) d"
    )
    return int(cursor.fetchone()[0])
