"""How a table follows its source, and why it cannot, in words that all destinations use; each names the way out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from sync_pipelines.destinations.hashes import covers_columns, distrust_hashes
from sync_pipelines.errors import SchemaDriftError
from sync_pipelines.model.entity import BRIDGE_COLUMNS, OPTIONAL_COLUMNS, Column, Entity


@dataclass(frozen=True)
class TablePlan:
    """Statements that bring the table to the entity's columns, and what they do in words."""

    statements: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


def check_may_be_made(entity: Entity, *, rebuild: bool) -> None:
    """Refuse to make a missing table anew when only a delta would come into it.

    Raises:
        SchemaDriftError: the table had rows.
    """
    if entity.timeline.last_sync_at is not None and entity.position.row_count and not rebuild:
        raise SchemaDriftError(
            f"The table {entity.table} is gone although it held {entity.position.row_count} rows.",
            where=dict(entity.where),
            next_command=f"sync-pipelines sync {entity.path} --full-refresh",
        )


def check_is_ours(entity: Entity, stored: Collection[str]) -> None:
    """Refuse a table of that name that somebody else made.

    Raises:
        SchemaDriftError: one of our own columns is missing.
    """
    missing = [name for name in BRIDGE_COLUMNS if name not in stored]
    if missing:
        raise SchemaDriftError(
            f"The table {entity.table} exists but is not ours: it has no column {missing[0]}.",
            where=dict(entity.where),
            state="It was left untouched.",
            next_command=f"rename it, then sync-pipelines sync {entity.path} --full-refresh",
        )


def lost_column(entity: Entity, name: str) -> SchemaDriftError:
    """A declared column is gone from the table, and a delta could not fill it."""
    return SchemaDriftError(
        f"The table {entity.table} has lost the column {name}, which only reading everything again can fill.",
        where=dict(entity.where),
        next_command=f"sync-pipelines sync {entity.path} --full-refresh",
    )


def check_can_follow(entity: Entity, refused: Sequence[str]) -> None:
    """Refuse changes that would cut, reinterpret or drop data.

    Raises:
        SchemaDriftError: lists each of them.
    """
    if refused:
        raise SchemaDriftError(
            f"The table {entity.table} cannot follow its source without loss: "
            + "; ".join(refused)
            + ".",
            where=dict(entity.where),
            next_command=f"sync-pipelines discover {entity.connector} --accept {entity.slug}"
            "  (keeps the old table under another name and reads everything again)",
        )


@dataclass(frozen=True)
class Alterations:
    """How a destination spells changes of a table.

    Attributes:
        table: its quoted name.
        quote: quotes a column.
        stored_name: the name of a column as the destination keeps it.
        type_of: the type that a column is to have.
        widening: what follows ALTER TABLE to widen a column from a type; None when that would lose something.
        holds: whether a type of the table holds every value of the column.
        own_types: of the optional columns of ours.
    """

    table: str
    quote: Callable[[str], str]
    stored_name: Callable[[str], str]
    type_of: Callable[[Column], str]
    widening: Callable[[Column, str], str | None]
    holds: Callable[[Column, str], bool]
    own_types: Mapping[str, str]


def with_stored_columns(entity: Entity, stored: Collection[str]) -> Entity:
    """The entity with the optional columns of ours that its table has already."""
    there = frozenset(name for name in OPTIONAL_COLUMNS if name in stored)
    return entity.with_own_columns(entity.position.own_columns | there)


def own_definitions(entity: Entity, types: Mapping[str, str]) -> list[str]:
    """Definitions of the optional columns of ours that the entity's table gets.

    Args:
        entity: whose table.
        types: of these columns, as the destination spells them.
    """
    return [f"{name} {kind}" for name, kind in types.items() if name in entity.position.own_columns]


def plan_table(
    entity: Entity,
    stored: Mapping[str, str],
    spelled: Alterations,
    *,
    rebuild: bool,
    creation: Callable[[], TablePlan] = TablePlan,
) -> TablePlan:
    """Plan how a table comes to be as its source is.

    Args:
        entity: with the columns that the source declares now.
        stored: types of the table's columns by name; empty where there is no table.
        spelled: by the destination.
        rebuild: everything is read again, so that a missing table may be made anew.
        creation: plans a table that is not there; the default leaves it to the first rows.

    Raises:
        SchemaDriftError: the table is gone, is not ours or cannot follow; the message lists each column and the way
            out.
    """
    if not stored:
        check_may_be_made(entity, rebuild=rebuild)
        return creation()
    check_is_ours(entity, stored)
    return plan_columns(entity, stored, spelled, rebuild=rebuild)


def plan_columns(
    entity: Entity,
    stored: Mapping[str, str],
    spelled: Alterations,
    *,
    rebuild: bool,
) -> TablePlan:
    """Plan how a table of ours follows its source: new columns are added, wider types widened, and nothing is cut.

    Args:
        entity: with the columns that the source declares now.
        stored: types of the table's columns by name.
        spelled: by the destination.
        rebuild: everything is read again, which fills a new column.

    Raises:
        SchemaDriftError: the table has lost a column that a delta cannot fill, or cannot follow.
    """
    statements: list[str] = []
    changes: list[str] = []
    refused: list[str] = []
    for column in entity.columns:
        have = stored.get(spelled.stored_name(column.target_name))
        wanted = spelled.type_of(column)
        if have == wanted:
            continue
        if have is None:
            if column.is_business_key:
                refused.append(f"{column.name}: the key column is missing in the table")
                continue
            if not rebuild:
                raise lost_column(entity, column.name)
            statements += _addition(entity, column, spelled)
            changes.append(f"add {column.name} {wanted}")
            continue
        widening = spelled.widening(column, have)
        if widening is not None:
            statements.append(f"ALTER TABLE {spelled.table} {widening}")
            changes.append(f"widen {column.name} from {have} to {wanted}")
        elif not spelled.holds(column, have):
            refused.append(f"{column.name}: {have} in the table, {wanted} at the source")
    for name in sorted(entity.position.own_columns - stored.keys()):
        added = f"ADD COLUMN {name} {spelled.own_types[name]}"
        statements.append(f"ALTER TABLE {spelled.table} {added}")
        changes.append(f"add {name}")
    check_can_follow(entity, refused)
    return TablePlan(tuple(statements), tuple(changes))


def _addition(
    entity: Entity,
    column: Column,
    spelled: Alterations,
) -> tuple[str, str]:
    """Statements that add a column.

    Rows whose hash covers it must be compared by content to be filled again: a person dropped it.
    """
    name = spelled.quote(column.target_name)
    return (
        f"ALTER TABLE {spelled.table} ADD COLUMN {name} {spelled.type_of(column)}",
        distrust_hashes(spelled.table, covers_columns(entity, "_bridge_hash")),
    )
