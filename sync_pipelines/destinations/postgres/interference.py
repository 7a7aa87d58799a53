"""What other people put on a target table that may keep our rows from it, found when a count is lost."""

from __future__ import annotations

from typing import Any

from sync_pipelines.errors import DatabaseRefusedError, LedgerError, SyncError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import literal
from sync_pipelines.model.tables import target_of

_FAMILY = """
WITH RECURSIVE family (oid) AS (
    SELECT {table}::regclass::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON f.oid = i.inhparent
)
"""


def explain_loss(cursor: Any, entity: Entity, loss: LedgerError) -> SyncError:
    """The loss as the doing of what is on the table, where there is something; else the loss as it is.

    Args:
        cursor: in the transaction that lost count; it is still usable, since PostgreSQL refused nothing.
        entity: whose table.
        loss: what was raised.
    """
    found = find_interference(cursor, entity)
    if not found:
        return loss
    names = "; ".join(name for name, _ in found)
    return DatabaseRefusedError(
        f"{loss.counts} On the table {entity.table} there is what can swallow or redirect rows: {names}.",
        where=dict(entity.where),
        next_command=f"let it leave our rows alone, or {found[0][1]}; then sync-pipelines sync {entity.path}",
    )


def find_interference(cursor: Any, entity: Entity) -> list[tuple[str, str]]:
    """Triggers, rules, policies and children of the target, each with the statement that takes it out of the way.

    Args:
        cursor: with rows as tuples.
        entity: whose table.
    """
    table = target_of(entity)
    family = _FAMILY.format(table=literal(table))
    queries = (
        f"{family} SELECT 'trigger ' || t.tgname || ' on ' || t.tgrelid::regclass || ', which calls ' ||"
        " t.tgfoid::regproc,"
        " format('ALTER TABLE %s DISABLE TRIGGER %I', t.tgrelid::regclass, t.tgname) FROM pg_trigger t JOIN family f"
        " ON f.oid = t.tgrelid"
        " WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY t.tgtype & 2 = 0, 1",
        f"{family} SELECT 'rule ' || w.rulename || ' on ' || w.ev_class::regclass,"
        " format('ALTER TABLE %s DISABLE RULE %I', w.ev_class::regclass, w.rulename)"
        " FROM pg_rewrite w JOIN family f ON f.oid = w.ev_class WHERE w.rulename <> '_RETURN'"
        " AND w.ev_enabled <> 'D' ORDER BY 1",
        f"{family} SELECT 'policy ' || p.polname || ' on ' || p.polrelid::regclass, format('DROP POLICY %I"
        " ON %s', p.polname, p.polrelid::regclass)"
        " FROM pg_policy p JOIN family f ON f.oid = p.polrelid JOIN pg_class c ON c.oid = p.polrelid"
        " WHERE c.relrowsecurity ORDER BY 1",
        f"{family} SELECT 'child table ' || f.oid::regclass, format('ALTER TABLE %s NO INHERIT %s', f.oid::regclass,"
        f" {literal(table)})"
        f" FROM family f WHERE f.oid <> {literal(table)}::regclass ORDER BY 1",
    )
    found: list[tuple[str, str]] = []
    for query in queries:
        cursor.execute(query)
        found += cursor.fetchall()
    return found
