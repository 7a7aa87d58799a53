"""What people gave to a table or view: owner, grants, comments, indexes, triggers, rules, policies, publications.

A relation that is made anew under the same name gets them back. Collect before the old one is renamed or dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sync_pipelines.model.quoting import literal, quote

_WHICH = {"O": "ENABLE", "D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
_COMMANDS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
_COMMENT = (
    "SELECT format('COMMENT ON %s %s IS %L', {kind}, {name}, obj_description({oid}, 'pg_class'))"
    " WHERE obj_description({oid}, 'pg_class') <> ''"
)
_KINDS = {"v": "VIEW", "m": "MATERIALIZED VIEW"}


@dataclass(frozen=True)
class Grant:
    """A privilege on a relation or on one of its columns; `grantee` is quoted, or PUBLIC."""

    privilege: str
    grantee: str
    may_pass_on: bool
    column: str | None = None


@dataclass(frozen=True)
class Belongings:
    """What a relation is to get back.

    Attributes:
        name: quoted, with its schema.
        owner: role that owned it.
        of_columns: a column, and what is said of it.
        statements: everything else.
    """

    name: str
    owner: str
    grants: tuple[Grant, ...]
    of_columns: tuple[tuple[str, str], ...]
    statements: tuple[str, ...]

    def put_on(self, cursor: Any) -> None:
        """Give them to the relation that has the name now, but what is said of columns that it lacks.

        Raises:
            psycopg.Error: one does not fit.
        """
        cursor.execute(
            f"SELECT attname FROM pg_attribute WHERE attrelid = {literal(self.name)}::regclass AND attnum > 0"
            " AND NOT attisdropped"
        )
        there = {name for (name,) in cursor.fetchall()}
        for statement in (
            *self.statements,
            *(text for column, text in self.of_columns if column in there),
        ):
            cursor.execute(statement)
        # Default privileges may have granted what nobody wants.
        for grantee in {grant.grantee for grant in read_grants(cursor, self.name)}:
            cursor.execute(f"REVOKE ALL ON {self.name} FROM {grantee}")
        for grant in (one for one in self.grants if one.column is None or one.column in there):
            what = f"{grant.privilege} ({quote(grant.column)})" if grant.column else grant.privilege
            cursor.execute(
                f"GRANT {what} ON {self.name} TO {grant.grantee}{' WITH GRANT OPTION' if grant.may_pass_on else ''}"
            )
        cursor.execute("SELECT current_user")
        if cursor.fetchone()[0] != self.owner:
            cursor.execute(f"ALTER TABLE {self.name} OWNER TO {quote(self.owner)}")


@contextmanager
def qualified_names(cursor: Any) -> Iterator[None]:
    """Let PostgreSQL write every name with its schema."""
    cursor.execute("SELECT current_setting('search_path')")
    before = cursor.fetchone()[0]
    cursor.execute("SELECT set_config('search_path', 'pg_catalog', true)")
    yield
    cursor.execute(f"SELECT set_config('search_path', {literal(before)}, true)")


def collect(cursor: Any, oid: int, *, without: Collection[str] = ()) -> Belongings:
    """Everything that people gave to a relation.

    Args:
        cursor: inside a transaction, with rows as tuples.
        oid: of the relation.
        without: names of indexes that somebody else builds.
    """
    cursor.execute(
        "SELECT n.nspname, c.relname, c.relkind::text, r.rolname FROM pg_class c JOIN pg_namespace n"
        " ON n.oid = c.relnamespace"
        f" JOIN pg_roles r ON r.oid = c.relowner WHERE c.oid = {oid}"
    )
    schema, table, kind, owner = cursor.fetchone()
    name = quote(schema, table)
    with qualified_names(cursor):
        statements = [
            *_defaults(cursor, oid, name, kind),
            *_indexes(cursor, oid, name, without),
            *_checks(cursor, oid, name),
            *_texts(
                cursor,
                f"SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = {oid}",
            ),
            *_texts(
                cursor,
                _COMMENT.format(
                    kind=literal(_KINDS.get(kind, "TABLE")),
                    name=literal(name),
                    oid=oid,
                ),
            ),
            *_triggers(cursor, oid, name),
            *_rules(cursor, oid, name),
            *(policy.up for policy in read_policies(cursor, f"p.polrelid = {oid}")),
            *_flags(cursor, oid, name),
            *_storage(cursor, oid, name, kind),
            *(membership.up for membership in read_publications(cursor, f"pr.prrelid = {oid}")),
        ]
    return Belongings(
        name,
        owner,
        tuple(read_grants(cursor, name)),
        tuple(_column_comments(cursor, oid, name)),
        tuple(statements),
    )


def read_grants(cursor: Any, name: str) -> list[Grant]:
    """What a relation grants to others than its owner."""
    relation = f"{literal(name)}::regclass"
    cursor.execute(
        "SELECT a.privilege_type, a.grantee = 0, r.rolname, a.is_grantable, NULL FROM pg_class c CROSS"
        " JOIN aclexplode(c.relacl) a"
        f" LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE c.oid = {relation} AND a.grantee <> c.relowner"
        " UNION ALL SELECT a.privilege_type, a.grantee = 0, r.rolname, a.is_grantable, t.attname FROM pg_class c"
        " JOIN pg_attribute t ON t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped CROSS"
        " JOIN aclexplode(t.attacl) a"
        f" LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE c.oid = {relation} AND a.grantee <> c.relowner"
    )
    return [
        Grant(privilege, "PUBLIC" if to_all else quote(role), may_pass_on, column)
        for privilege, to_all, role, may_pass_on, column in cursor.fetchall()
    ]


@dataclass(frozen=True)
class Part:
    """A policy or a membership: how it is called, and the statements that remove and make it."""

    called: str
    down: str
    up: str


def read_policies(cursor: Any, condition: str) -> list[Part]:
    """Row-level-security policies, by a condition over pg_policy."""
    cursor.execute(
        "SELECT p.polname, n.nspname, c.relname, p.polpermissive, p.polcmd::text,"
        " ARRAY(SELECT coalesce(quote_ident(r.rolname), 'PUBLIC') FROM unnest(p.polroles) one LEFT JOIN pg_roles r"
        " ON r.oid = one),"
        " pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)"
        " FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
        f" WHERE {condition}"
    )
    parts = []
    for policy, schema, table, permissive, command, roles, using, check in cursor.fetchall():
        place = f"{quote(policy)} ON {quote(schema, table)}"
        up = (
            f"CREATE POLICY {place} AS {'PERMISSIVE' if permissive else 'RESTRICTIVE'} FOR {_COMMANDS[command]} TO"
            f" {', '.join(roles)}"
        )
        up += f" USING ({using})" if using else ""
        up += f" WITH CHECK ({check})" if check else ""
        parts.append(Part(f"the policy {policy} on {schema}.{table}", f"DROP POLICY {place}", up))
    return parts


def read_publications(cursor: Any, condition: str) -> list[Part]:
    """Memberships of tables in publications, by a condition over pg_publication_rel pr."""
    cursor.execute(
        "SELECT p.pubname, n.nspname, c.relname, pg_get_expr(pr.prqual, pr.prrelid),"
        " ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a WHERE a.attrelid = pr.prrelid"
        " AND a.attnum = ANY (pr.prattrs::int2[]))"
        " FROM pg_publication_rel pr JOIN pg_publication p ON p.oid = pr.prpubid JOIN pg_class c ON c.oid = pr.prrelid"
        f" JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {condition}"
    )
    parts = []
    for publication, schema, table, where, columns in cursor.fetchall():
        name = quote(schema, table)
        chosen = f" ({', '.join(columns)})" if columns else ""
        rows = f" WHERE ({where})" if where else ""
        alter = f"ALTER PUBLICATION {quote(publication)}"
        parts.append(
            Part(
                f"the publication {publication}",
                f"{alter} DROP TABLE {name}",
                f"{alter} ADD TABLE {name}{chosen}{rows}",
            )
        )
    return parts


def _texts(cursor: Any, query: str) -> list[str]:
    cursor.execute(query)
    return [text for (text,) in cursor.fetchall()]


def _defaults(cursor: Any, oid: int, name: str, kind: str) -> list[str]:
    if kind != "v":
        return []
    cursor.execute(
        "SELECT a.attname, pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_attribute a"
        " ON a.attrelid = d.adrelid"
        f" AND a.attnum = d.adnum WHERE d.adrelid = {oid}"
    )
    return [
        f"ALTER VIEW {name} ALTER COLUMN {quote(column)} SET DEFAULT {value}"
        for column, value in cursor.fetchall()
    ]


def _indexes(
    cursor: Any,
    oid: int,
    name: str,
    without: Collection[str],
) -> list[str]:
    cursor.execute(
        "SELECT i.relname, pg_get_indexdef(x.indexrelid), k.conname, pg_get_constraintdef(k.oid),"
        " obj_description(i.oid, 'pg_class'), n.nspname"
        " FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace"
        " LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid AND k.contype IN ('p',"
        " 'u', 'x')"
        f" WHERE x.indrelid = {oid} ORDER BY k.conname IS NULL, i.relname"
    )
    statements = []
    for index, definition, constraint, as_constraint, comment, schema in cursor.fetchall():
        if index in without:
            continue
        statements.append(
            f"ALTER TABLE {name} ADD CONSTRAINT {quote(constraint)} {as_constraint}"
            if constraint
            else definition
        )
        if comment:
            statements.append(f"COMMENT ON INDEX {quote(schema, index)} IS {literal(comment)}")
    return statements


def _checks(cursor: Any, oid: int, name: str) -> list[str]:
    cursor.execute(
        f"SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = {oid} AND contype IN ('c',"
        " 'f') AND conislocal ORDER BY conname"
    )
    return [
        f"ALTER TABLE {name} ADD CONSTRAINT {quote(constraint)} {definition}"
        for constraint, definition in cursor.fetchall()
    ]


def _column_comments(cursor: Any, oid: int, name: str) -> list[tuple[str, str]]:
    cursor.execute(
        "SELECT a.attname, d.description FROM pg_description d JOIN pg_attribute a ON a.attrelid = d.objoid"
        " AND a.attnum = d.objsubid"
        f" WHERE d.objoid = {oid} AND d.classoid = 'pg_class'::regclass AND d.objsubid > 0 AND NOT a.attisdropped"
    )
    return [
        (column, f"COMMENT ON COLUMN {name}.{quote(column)} IS {literal(text)}")
        for column, text in cursor.fetchall()
    ]


def _triggers(cursor: Any, oid: int, name: str) -> list[str]:
    cursor.execute(
        "SELECT tgname, pg_get_triggerdef(oid), tgenabled::text, obj_description(oid, 'pg_trigger') FROM pg_trigger"
        f" WHERE tgrelid = {oid} AND NOT tgisinternal ORDER BY tgname"
    )
    statements = []
    for trigger, definition, enabled, comment in cursor.fetchall():
        statements.append(definition)
        if enabled != "O":
            statements.append(f"ALTER TABLE {name} {_WHICH[enabled]} TRIGGER {quote(trigger)}")
        if comment:
            statements.append(
                f"COMMENT ON TRIGGER {quote(trigger)} ON {name} IS {literal(comment)}"
            )
    return statements


def _rules(cursor: Any, oid: int, name: str) -> list[str]:
    cursor.execute(
        "SELECT rulename, pg_get_ruledef(oid), ev_enabled::text FROM pg_rewrite"
        f" WHERE ev_class = {oid} AND rulename <> '_RETURN' ORDER BY rulename"
    )
    statements = []
    for rule, definition, enabled in cursor.fetchall():
        statements.append(definition)
        if enabled != "O":
            statements.append(f"ALTER TABLE {name} {_WHICH[enabled]} RULE {quote(rule)}")
    return statements


def _flags(cursor: Any, oid: int, name: str) -> list[str]:
    cursor.execute(
        f"SELECT relrowsecurity, relforcerowsecurity, relreplident = 'f' FROM pg_class WHERE oid = {oid}"
    )
    flags = zip(
        ("ENABLE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY", "REPLICA IDENTITY FULL"),
        cursor.fetchone(),
        strict=True,
    )
    return [f"ALTER TABLE {name} {flag}" for flag, is_set in flags if is_set]


def _storage(cursor: Any, oid: int, name: str, kind: str) -> list[str]:
    """Storage parameters of a table, and the index that replication knows its rows by.

    Those of a view are part of its definition.
    """
    if kind in _KINDS:
        return []
    cursor.execute(f"SELECT reloptions FROM pg_class WHERE oid = {oid}")
    options = cursor.fetchone()[0] or []
    cursor.execute(
        f"SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = {oid}"
        " AND x.indisreplident"
    )
    identity = [
        f"ALTER TABLE {name} REPLICA IDENTITY USING INDEX {quote(index)}"
        for (index,) in cursor.fetchall()
    ]
    return [*([f"ALTER TABLE {name} SET ({', '.join(options)})"] if options else []), *identity]
