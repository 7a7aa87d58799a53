"""Mark rows of a Trino table whose newest record was rejected; `destinations.marks` says which.

The marks follow the quarantine, in a second commit: killed in between, the next run sets them.
"""

from __future__ import annotations

from sync_pipelines.books.keys import Key, parse_key
from sync_pipelines.books.rejects import is_waiting, of_this_run, quarantine_table
from sync_pipelines.destinations.marks import is_to_mark
from sync_pipelines.destinations.trino.dialect import HIVE, TRINO
from sync_pipelines.destinations.trino.hive import OPTIONAL_TYPES as HIVE_TYPES
from sync_pipelines.destinations.trino.hive import current_rows, version_statement, view_statement
from sync_pipelines.destinations.trino.keys import keys_table
from sync_pipelines.destinations.trino.staging import TEXT, Field
from sync_pipelines.destinations.trino.table import OPTIONAL_TYPES
from sync_pipelines.destinations.trino.work import Work
from sync_pipelines.model.entity import REJECTED_COLUMN, Entity

_ADD = f"ADD COLUMN IF NOT EXISTS {REJECTED_COLUMN}"


def mark_rejected(work: Work) -> int:
    """Mark the live rows whose key this run put into quarantine; returns how many rows were marked."""
    entity = work.request.entity
    rejected = _read_rejected(work)
    if not rejected:
        return 0
    keys = [key for key, _ in rejected]
    rowversions = [rowversion for _, rowversion in rejected]
    table, fields = keys_table(entity, keys)
    table = table.append_column("rowversion", [rowversions])
    field = Field("rowversion", TEXT)
    relation = work.staging.relation(
        "rejected",
        table,
        [*fields, field],
    )
    match = work.statements.match
    to_mark = is_to_mark(TRINO, entity, work.read.order)
    condition = f"EXISTS (SELECT 1 FROM {relation} s WHERE {match} AND {to_mark})"
    target = work.statements.target
    found = work.session.number(f"SELECT count(*) FROM {target} t WHERE {condition}")
    if found and work.is_hive:
        _mark_versions(work, condition)
    elif found:
        _mark_rows(work, condition)
    return found


def _mark_rows(work: Work, condition: str) -> None:
    target = work.statements.target
    if not work.request.entity.has_rejected:
        kind = OPTIONAL_TYPES[REJECTED_COLUMN]
        work.session.execute(f"ALTER TABLE {target} {_ADD} {kind}")
    work.session.execute(
        f"{work.statements.marker}MERGE INTO {target} t"
        f" USING (SELECT t._bridge_id FROM {target} t WHERE {condition}) s"
        " ON t._bridge_id = s._bridge_id"
        f" WHEN MATCHED THEN UPDATE SET {REJECTED_COLUMN} = {TRINO.now}"
    )


def _mark_versions(work: Work, condition: str) -> None:
    """Append versions with the mark, since the files of a Hive table cannot be changed."""
    entity = work.request.entity
    place = work.place.of(_marked(entity))
    rows = current_rows(place)
    if not entity.has_rejected:
        kind = HIVE_TYPES[REJECTED_COLUMN]
        work.session.execute(f"ALTER TABLE {place.beside(rows)} {_ADD} {kind}")
        work.session.execute(view_statement(place, rows))
    changes = {REJECTED_COLUMN: HIVE.now}
    statement = version_statement(place, rows, condition, changes)
    work.session.execute(statement)


def _marked(entity: Entity) -> Entity:
    """The entity as its table has the mark."""
    own = entity.position.own_columns
    return entity.with_own_columns(own | {REJECTED_COLUMN})


def _read_rejected(work: Work) -> list[tuple[Key, str | None]]:
    """Keys of the run's waiting rejects with their rowversions."""
    request = work.request
    work.cursor.execute(
        f"SELECT DISTINCT q.business_key::text, q.rowversion FROM {quarantine_table(request)} q"
        f" WHERE {is_waiting(request.entity)} AND {of_this_run(request)}"
    )
    rows = work.cursor.fetchall()
    return [(parse_key(key), rowversion) for key, rowversion in rows]
