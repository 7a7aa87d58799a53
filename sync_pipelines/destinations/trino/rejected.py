"""Rows whose newest record was rejected, in Trino; the rules are those of `destinations.postgres.rejected`.

The marks follow the quarantine, in a commit of their own: killed in between, the next run sets them.
"""

from __future__ import annotations

import json

from sync_pipelines.destinations.trino.hive import NOW as HIVE_NOW
from sync_pipelines.destinations.trino.hive import OPTIONAL_TYPES as HIVE_TYPES
from sync_pipelines.destinations.trino.hive import current_rows, version_statement, view_statement
from sync_pipelines.destinations.trino.merge import NOW, match_keys
from sync_pipelines.destinations.trino.order import order_of
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.reviews import Key, keys_table
from sync_pipelines.destinations.trino.staging import TEXT, Field
from sync_pipelines.destinations.trino.table import OPTIONAL_TYPES
from sync_pipelines.destinations.trino.work import Work
from sync_pipelines.model.entity import REJECTED_COLUMN
from sync_pipelines.model.quoting import literal as pg_literal
from sync_pipelines.model.quoting import quote as pg_quote


def mark_rejected(work: Work) -> int:
    """Mark the live rows whose key this run put into quarantine; returns how many rows were marked."""
    entity, rejected = work.request.entity, _rejected_keys(work)
    if not rejected:
        return 0
    table, fields = keys_table(entity, list(rejected))
    table = table.append_column("rowversion", [list(rejected.values())])
    relation = work.staging.relation("rejected", table, [*fields, Field("rowversion", TEXT)])
    codec = work.read.order
    theirs, ours = order_of(codec, "s.rowversion"), order_of(codec, "t._bridge_rowversion")
    live = "NOT t._bridge_deleted" + (
        f" AND NOT coalesce({ours} > {theirs}, false)" if theirs is not None else ""
    )
    live += f" AND t.{REJECTED_COLUMN} IS NULL" if entity.has_rejected else ""
    match, target = match_keys(entity), work.statements.target
    found = work.session.number(
        f"SELECT count(*) FROM {target} t JOIN {relation} s ON {match} WHERE {live}"
    )
    if not found:
        return 0
    entity = entity.with_own_columns(entity.position.own_columns | {REJECTED_COLUMN})
    if work.is_hive:
        rows = current_rows(work.session, work.catalog, entity)
        place = quote(work.catalog, entity.target_schema, rows)
        if not work.request.entity.has_rejected:
            work.session.execute(
                f"ALTER TABLE {place} ADD COLUMN IF NOT EXISTS {REJECTED_COLUMN} {HIVE_TYPES[REJECTED_COLUMN]}"
            )
            work.session.execute(view_statement(work.catalog, entity, rows))
        condition = f"EXISTS (SELECT 1 FROM {relation} s WHERE {match} AND {live})"
        work.session.execute(
            version_statement(entity, target, place, condition, {REJECTED_COLUMN: HIVE_NOW})
        )
        return found
    if not work.request.entity.has_rejected:
        work.session.execute(
            f"ALTER TABLE {target} ADD COLUMN IF NOT EXISTS {REJECTED_COLUMN} {OPTIONAL_TYPES[REJECTED_COLUMN]}"
        )
    work.session.execute(
        f"{work.statements.marker}MERGE INTO {target} t USING {relation} s ON {match} WHEN MATCHED"
        f" AND {live} THEN UPDATE SET {REJECTED_COLUMN} = {NOW}"
    )
    return found


def _rejected_keys(work: Work) -> dict[Key, str | None]:
    """Keys of the run's open rejects with their rowversions; of several records of a key the one read last."""
    request = work.request
    work.cursor.execute(
        f"SELECT business_key::text, rowversion FROM {pg_quote(request.bridge_schema)}.quarantine"
        f" WHERE entity_uid = {pg_literal(str(request.entity.uid))} AND run_uid = {pg_literal(str(request.run_uid))}"
        " AND resolved_at IS NULL AND business_key IS NOT NULL ORDER BY page NULLS FIRST, position"
    )
    return {tuple(json.loads(key)): rowversion for key, rowversion in work.cursor.fetchall()}
