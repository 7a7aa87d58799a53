"""What hangs on a table: taken down before the table changes, and put up again in the same transaction.

Views of any depth are dropped and made anew; a function keeps its place and loses its body for the while. What a role
of ours may not rebuild, or what no longer fits, is named, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from sync_pipelines.destinations.postgres.belongings import (
    Belongings,
    collect,
    qualified_names,
    read_policies,
    read_publications,
)
from sync_pipelines.errors import DatabaseRefusedError
from sync_pipelines.model.quoting import literal, quote

_CHAIN = """
WITH RECURSIVE above (oid, depth) AS (
    SELECT {oid}::oid, 0
    UNION
    SELECT r.ev_class, a.depth + 1 FROM above a
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.oid AND d.classid =
        'pg_rewrite'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND r.rulename = '_RETURN' AND r.ev_class <> a.oid
), chain AS (SELECT oid, max(depth) AS depth FROM above GROUP BY oid)
"""


@dataclass(frozen=True)
class Dependant:
    """One thing that hangs on a table.

    Attributes:
        called: how a person calls it, "the view marts.codes".
        owner: role that owns it.
        ours: the role of this session may rebuild it.
        down, up: statements.
        belongings: what a view gets back.
        afterwards: what a person has to do afterwards.
    """

    called: str
    owner: str
    ours: bool
    down: str
    up: tuple[str, ...]
    belongings: Belongings | None = None
    afterwards: str = ""


def find_oid(cursor: Any, schema: str, name: str) -> int | None:
    """The relation of that name; None when there is none."""
    cursor.execute(f"SELECT to_regclass({literal(quote(schema, name))})::oid::bigint")
    found = cursor.fetchone()[0]
    return None if found is None else int(found)


@contextmanager
def dependants_down(
    cursor: Any,
    schema: str,
    table: str,
    *,
    moves: bool = False,
    starts_empty: bool = False,
) -> Iterator[list[Dependant]]:
    """Take down what hangs on a table while the block changes it, and put it up on what then has the name.

    Args:
        cursor: of psycopg 3 with rows as tuples, inside a transaction.
        schema, table: the table; nothing happens where there is none.
        moves: the block gives the name to another table, so that what holds on to the table itself has to follow.
        starts_empty: that other table gets its rows later.

    Yields:
        What was taken down, in the order in which it is put up.

    Raises:
        DatabaseRefusedError: names what cannot be rebuilt; the caller rolls back.
    """
    oid = find_oid(cursor, schema, table)
    found = (
        [] if oid is None else find_dependants(cursor, oid, moves=moves, starts_empty=starts_empty)
    )
    for one in found:
        if not one.ours:
            raise _refused(one, table, f"it belongs to {one.owner}")
    for one in reversed(found):
        _execute(cursor, (one.down,), one, table)
    yield found
    for one in found:
        _execute(cursor, one.up, one, table)


def find_dependants(
    cursor: Any,
    oid: int,
    *,
    moves: bool = False,
    starts_empty: bool = False,
) -> list[Dependant]:
    """What hangs on a relation, in the order in which it can be made.

    Args:
        cursor: with rows as tuples, inside a transaction.
        oid: of the relation.
        moves, starts_empty: as for `dependants_down`.
    """
    chain = _CHAIN.format(oid=oid)
    with qualified_names(cursor):
        found = [
            *_views(cursor, chain, starts_empty=starts_empty),
            *_rules(cursor, chain, oid, moves=moves),
        ]
        found += _parts(cursor, chain, oid, moves=moves)
        found += [] if moves else _triggers(cursor, oid)
        found += _foreign_keys(cursor, oid, starts_empty=starts_empty) if moves else []
        return [*found, *_functions(cursor, chain)]


def check_can_move(cursor: Any, oid: int, table: str) -> None:
    """Refuse to rename a table to which other things are bound by its row type or as its parts.

    Raises:
        DatabaseRefusedError: names them.
    """
    cursor.execute(
        "SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_class c JOIN pg_type t ON t.oid = c.reltype"
        " JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)"
        f" WHERE c.oid = {oid} AND d.deptype = 'n' UNION ALL SELECT 'table ' || inhrelid::regclass FROM pg_inherits"
        f" WHERE inhparent = {oid}"
    )
    bound = [text for (text,) in cursor.fetchall()]
    if bound:
        raise DatabaseRefusedError(
            f"The table {table} cannot be set aside: {', '.join(bound)} would stay with the old one.",
            state="Nothing was changed.",
            next_command="drop or change what is named, then the same command again",
        )


def _views(cursor: Any, chain: str, *, starts_empty: bool) -> list[Dependant]:
    cursor.execute(
        f"{chain} SELECT c.oid::bigint, n.nspname, c.relname, c.relkind = 'm', c.relispopulated, c.reloptions,"
        " pg_get_viewdef(c.oid),"
        " r.rolname, pg_has_role(c.relowner, 'MEMBER') FROM chain JOIN pg_class c USING (oid) JOIN pg_namespace n"
        " ON n.oid = c.relnamespace"
        " JOIN pg_roles r ON r.oid = c.relowner WHERE depth > 0 ORDER BY depth, c.oid"
    )
    views = []
    for (
        oid,
        schema,
        view,
        is_stored,
        is_filled,
        options,
        definition,
        owner,
        ours,
    ) in cursor.fetchall():
        name, kind = quote(schema, view), "MATERIALIZED VIEW" if is_stored else "VIEW"
        given = f" WITH ({', '.join(options)})" if options else ""
        filled = f" WITH {'' if is_filled and not starts_empty else 'NO '}DATA" if is_stored else ""
        up = f"CREATE {kind} {name}{given} AS {definition.rstrip().rstrip(';')}{filled}"
        afterwards = (
            f"REFRESH MATERIALIZED VIEW {name}" if is_stored and is_filled and starts_empty else ""
        )
        called = f"the {kind.lower()} {schema}.{view}"
        views.append(
            Dependant(
                called,
                owner,
                ours,
                f"DROP {kind} {name}",
                (up,),
                collect(cursor, oid) if ours else None,
                afterwards,
            )
        )
    return views


def _rules(cursor: Any, chain: str, oid: int, *, moves: bool) -> list[Dependant]:
    """Rules of other tables that read one of the chain, and those of the table itself that name a column."""
    cursor.execute(
        f"{chain} SELECT DISTINCT w.rulename, n.nspname, c.relname, pg_get_ruledef(w.oid), r.rolname,"
        " pg_has_role(c.relowner, 'MEMBER')"
        " FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_roles r ON r.oid = c.relowner JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass"
        " AND d.objid = w.oid"
        " AND d.refclassid = 'pg_class'::regclass JOIN chain ON chain.oid = d.refobjid"
        f" WHERE w.rulename <> '_RETURN' AND ({'false' if moves else 'true'} AND w.ev_class = {oid}"
        " OR w.ev_class NOT IN (SELECT oid FROM chain))"
    )
    return [
        Dependant(
            f"the rule {rule} on {schema}.{table}",
            owner,
            ours,
            f"DROP RULE {quote(rule)} ON {quote(schema, table)}",
            (definition,),
        )
        for rule, schema, table, definition, owner, ours in cursor.fetchall()
    ]


def _parts(cursor: Any, chain: str, oid: int, *, moves: bool) -> list[Dependant]:
    """Policies that read the chain, and publications that choose rows or columns of the table."""
    cursor.execute(
        f"{chain} SELECT DISTINCT p.oid::bigint, r.rolname, pg_has_role(c.relowner, 'MEMBER') FROM pg_policy p"
        " JOIN pg_class c ON c.oid = p.polrelid"
        " JOIN pg_roles r ON r.oid = c.relowner JOIN pg_depend d ON d.classid = 'pg_policy'::regclass"
        " AND d.objid = p.oid"
        " AND d.refclassid = 'pg_class'::regclass JOIN chain ON chain.oid = d.refobjid"
        # Of the table itself when it only moves: they are among its belongings.
        f" WHERE d.deptype = 'n' AND ({'false' if moves else 'true'} OR p.polrelid <> {oid})"
    )
    found = []
    for policy, owner, ours in cursor.fetchall():
        part = read_policies(cursor, f"p.oid = {policy}")[0]
        found.append(Dependant(part.called, owner, ours, part.down, (part.up,)))
    if moves:
        return found
    cursor.execute(
        "SELECT pr.oid::bigint, r.rolname, pg_has_role(p.pubowner, 'MEMBER') FROM pg_publication_rel pr"
        " JOIN pg_publication p ON p.oid = pr.prpubid"
        f" JOIN pg_roles r ON r.oid = p.pubowner WHERE pr.prrelid = {oid} AND (pr.prqual IS NOT NULL"
        " OR pr.prattrs IS NOT NULL)"
    )
    for membership, owner, ours in cursor.fetchall():
        part = read_publications(cursor, f"pr.oid = {membership}")[0]
        found.append(Dependant(part.called, owner, ours, part.down, (part.up,)))
    return found


def _triggers(cursor: Any, oid: int) -> list[Dependant]:
    """Triggers of the table that name a column, which PostgreSQL does not let change its type then."""
    cursor.execute(
        "SELECT t.tgname, n.nspname, c.relname, pg_get_triggerdef(t.oid), t.tgenabled::text, r.rolname,"
        " pg_has_role(c.relowner, 'MEMBER')"
        " FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_roles r ON r.oid = c.relowner"
        f" WHERE t.tgrelid = {oid} AND NOT t.tgisinternal AND EXISTS (SELECT FROM pg_depend d"
        " WHERE d.classid = 'pg_trigger'::regclass"
        " AND d.objid = t.oid AND d.refobjid = t.tgrelid AND d.refobjsubid > 0)"
    )
    found = []
    for trigger, schema, table, definition, enabled, owner, ours in cursor.fetchall():
        place = quote(schema, table)
        modes = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
        mode = (
            (f"ALTER TABLE {place} {modes[enabled]} TRIGGER {quote(trigger)}",)
            if enabled in modes
            else ()
        )
        called = f"the trigger {trigger} on {schema}.{table}"
        found.append(
            Dependant(
                called,
                owner,
                ours,
                f"DROP TRIGGER {quote(trigger)} ON {place}",
                (definition, *mode),
            )
        )
    return found


def _foreign_keys(cursor: Any, oid: int, *, starts_empty: bool) -> list[Dependant]:
    """Foreign keys of other tables; on the new one they hold for rows to come, since it is still empty."""
    cursor.execute(
        "SELECT k.conname, n.nspname, c.relname, pg_get_constraintdef(k.oid), k.convalidated, r.rolname,"
        " pg_has_role(c.relowner, 'MEMBER')"
        " FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" JOIN pg_roles r ON r.oid = c.relowner WHERE k.confrelid = {oid} AND k.contype = 'f' AND k.conparentid = 0"
        f" AND k.conrelid <> {oid}"
    )
    found = []
    for constraint, schema, table, definition, was_valid, owner, ours in cursor.fetchall():
        is_later = was_valid and starts_empty
        alter = f"ALTER TABLE {quote(schema, table)}"
        up = f"{alter} ADD CONSTRAINT {quote(constraint)} {definition}{' NOT VALID' if is_later else ''}"
        afterwards = f"{alter} VALIDATE CONSTRAINT {quote(constraint)}" if is_later else ""
        called = f"the foreign key {constraint} of {schema}.{table}"
        found.append(
            Dependant(
                called,
                owner,
                ours,
                f"{alter} DROP CONSTRAINT {quote(constraint)}",
                (up,),
                afterwards=afterwards,
            )
        )
    return found


def _functions(cursor: Any, chain: str) -> list[Dependant]:
    """Functions whose body PostgreSQL has parsed (BEGIN ATOMIC, RETURN); texts find the table by its name anyway."""
    cursor.execute(
        f"{chain} SELECT DISTINCT p.oid::regprocedure::text, pg_get_functiondef(p.oid),"
        " pg_get_function_sqlbody(p.oid), r.rolname,"
        " pg_has_role(p.proowner, 'MEMBER') FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner"
        " JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid"
        " AND d.refclassid = 'pg_class'::regclass"
        " JOIN chain ON chain.oid = d.refobjid WHERE p.prosqlbody IS NOT NULL"
    )
    found = []
    for signature, definition, body, owner, ours in cursor.fetchall():
        head = definition.rstrip().removesuffix(body.rstrip())
        found.append(
            Dependant(
                f"the function {signature}",
                owner,
                ours,
                f"{head} AS 'SELECT NULL'",
                (definition,),
            )
        )
    return found


def _execute(
    cursor: Any,
    statements: tuple[str, ...],
    one: Dependant,
    table: str,
) -> None:
    try:
        cursor.execute("SET LOCAL check_function_bodies = off")
        for statement in statements:
            cursor.execute(statement)
        if one.belongings is not None and statements is one.up:
            one.belongings.put_on(cursor)
    except psycopg.Error as error:
        detail = f": {error.diag.message_detail}" if error.diag.message_detail else ""
        raise _refused(
            one,
            table,
            f"{str(error.diag.message_primary or error).rstrip('.')}{detail}",
        ) from error


def _refused(one: Dependant, table: str, why: str) -> DatabaseRefusedError:
    return DatabaseRefusedError(
        f"The table {table} cannot change: {one.called} hangs on it and cannot be made anew ({why}).",
        state="Nothing was changed.",
        next_command=f"drop {one.called} or change it ({one.down.splitlines()[0]}), or let {one.owner} own it with"
        " our role as a member;"
        " then the same command again",
    )
