"""`sync-pipelines entities` and `entity`: what is synced, and how."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

import typer
from rich.text import Text

from sync_pipelines.batches.coercion import COERCIONS, LENIENT, TRUNCATE, words_of
from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database, clock
from sync_pipelines.catalog.entities import (
    change_coercion,
    change_destination,
    change_entity,
    get_entity,
    list_entities,
)
from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.catalog.table_overview import list_table_overviews
from sync_pipelines.cli.shell.completion import complete_connectors, complete_entities
from sync_pipelines.cli.shell.context import split_entity_path
from sync_pipelines.cli.shell.output import (
    JsonOption,
    examples,
    print_json,
    say,
    show_fields,
    show_table,
)
from sync_pipelines.cli.shell.running import show_in_dagster
from sync_pipelines.destinations.registry import kind_of
from sync_pipelines.errors import SettingsError
from sync_pipelines.model.entity import Entity, EntityDefinition, EntityStatus
from sync_pipelines.model.freshness import StatusWord, status_word
from sync_pipelines.model.run import RunStatus
from sync_pipelines.settings import Settings

PathArgument = Annotated[
    str,
    typer.Argument(
        metavar="CONNECTOR/ENTITY",
        help="The entity, for example erp/items.",
        autocompletion=complete_entities,
    ),
]

_STYLES: dict[str, str] = {
    StatusWord.ON_TIME: "green",
    StatusWord.LATE: "yellow",
    StatusWord.ERROR: "bold red",
    StatusWord.ACTION_REQUIRED: "bold red",
    StatusWord.REJECTED: "bold red",
    StatusWord.DELETIONS_HELD: "bold red",
    StatusWord.SWITCHED_OFF: "dim",
    StatusWord.VANISHED: "dim",
}

group = typer.Typer(
    no_args_is_help=True,
    help="One entity: show it, change how it is synced.",
    epilog=examples("entity show erp/items", "entity set erp/items --interval 60"),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=examples("entities", "entities erp --json"))(entities)
    app.add_typer(group, name="entity")


def entities(
    context: typer.Context,
    connector: Annotated[
        str | None,
        typer.Argument(
            help="One connector; all active ones when left out.", autocompletion=complete_connectors
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the entities with their state."""
    database = open_catalog(context.obj)
    if connector is not None:
        get_connector(database, connector)
    found = list_entities(database, connector)
    words = status_words(database, found, context.obj)
    if as_json:
        print_json([{**shown(entity), "freshness": words[entity.path]} for entity in found])
        return
    show_table(
        "Entities",
        (
            "entity",
            "table",
            "strategy",
            "rows",
            "last success",
            "last run",
            "status",
            "interval s",
            "next due",
            "cursor",
        ),
        [_row(entity, words[entity.path]) for entity in found],
        right=("rows", "interval s"),
        least=("cursor", "table", "next due", "interval s", "strategy", "last run"),
        empty="There is no entity yet. Next: sync-pipelines discover",
    )


def _row(entity: Entity, word: str) -> tuple[Any, ...]:
    is_scheduled = entity.policy.sync_enabled and entity.status is EntityStatus.ACTIVE
    return (
        entity.path,
        entity.table,
        entity.delta_strategy.value,
        entity.position.row_count,
        entity.timeline.last_success_at,
        entity.timeline.last_sync_status,
        word_text(word),
        entity.policy.sync_interval_seconds,
        entity.timeline.next_due_at if is_scheduled else None,
        entity.position.cursor,
    )


@group.command(epilog=examples("entity show erp/items", "entity show erp/items --json"))
def show(context: typer.Context, path: PathArgument, as_json: JsonOption = False) -> None:
    """Show one entity with its columns."""
    database = open_catalog(context.obj)
    entity = get_entity(database, *split_entity_path(path))
    data = {
        **shown(entity),
        "freshness": status_words(database, [entity], context.obj)[entity.path],
    }
    if as_json:
        print_json(data)
        return
    show_fields(
        entity.path,
        {name: value for name, value in data.items() if name not in ("columns", "cursor_marks")},
    )
    show_table(
        "Columns",
        ("column", "declared", "in the table", "null", "key"),
        [
            (c.name, c.data_type, c.type.sql, c.is_nullable, c.is_business_key)
            for c in entity.columns
        ],
    )


@group.command(
    "set", epilog=examples("entity set erp/items --interval 60", "entity set erp/items --disable")
)
def set_(
    context: typer.Context,
    path: PathArgument,
    interval: Annotated[int | None, typer.Option(min=1, help="Seconds between two syncs.")] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Sync it by schedule, or not.")
    ] = None,
    page_size: Annotated[int | None, typer.Option(min=1, help="Records per request.")] = None,
    lookback_seconds: Annotated[
        int | None, typer.Option(min=0, help="How late a row may become visible.")
    ] = None,
    max_vanished_share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Most rows a full read may delete, as a share of the live ones."
        ),
    ] = None,
    destination: Annotated[
        str | None,
        typer.Option(
            help="postgres, trino or duckdb; the next sync reads everything, the old table stays."
        ),
    ] = None,
    coerce: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=WORD",
            help="truncate, lenient, both joined by + or none: what becomes of values that do not fit.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change how an entity is synced."""
    given = {
        "sync_interval_seconds": interval,
        "sync_enabled": enabled,
        "page_size": page_size,
        "lookback_seconds": lookback_seconds,
        "max_vanished_share": max_vanished_share,
    }
    policy: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not policy and destination is None and not coerce:
        raise SettingsError(
            "Nothing to set.",
            state="Nothing was changed.",
            next_command="sync-pipelines entity set --help",
        )
    database = open_catalog(context.obj)
    connector, slug = split_entity_path(path)
    entity = get_entity(database, connector, slug)
    changes = dict(policy)
    if destination is not None:
        kind_of(destination)
        entity = change_destination(database, entity, destination)
        changes["destination"] = destination
    if coerce:
        entity = change_coercion(database, entity, _coercions(coerce))
        changes["coerce"] = ", ".join(coerce)
    entity = change_entity(database, entity, **policy)
    show_in_dagster(context.obj, database, quiet=True)
    if as_json:
        print_json(shown(entity))
        return
    words = [f"{name} = {getattr(entity.policy, name, value)}" for name, value in changes.items()]
    say(f"{entity.path}: {', '.join(words)}")


def _coercions(given: list[str]) -> dict[str, str]:
    """`created_at=truncate+lenient` as words by column."""
    words: dict[str, str] = {}
    for one in given:
        name, separator, allowed = one.rpartition("=")
        chosen = [] if allowed == "none" else allowed.split("+")
        if not separator or not set(chosen) <= set(COERCIONS):
            raise SettingsError(
                f"{one!r} is not COLUMN=truncate, =lenient, =truncate+lenient or =none.",
                state="Nothing was changed.",
            )
        words[name] = words_of(truncate=TRUNCATE in chosen, lenient=LENIENT in chosen)
    return words


def status_words(database: Database, entities: list[Entity], settings: Settings) -> dict[str, str]:
    """The status word of each entity by its path, by the clock of the database."""
    now = clock(database)
    overviews = list_table_overviews(database)
    rejected = {overview.path for overview in overviews if overview.is_rejecting}
    return {
        entity.path: status_word(
            status=entity.status,
            sync_enabled=entity.policy.sync_enabled,
            sync_interval_seconds=entity.policy.sync_interval_seconds,
            last_success_at=entity.timeline.last_success_at,
            now=now,
            grace_seconds=settings.alerts.freshness_grace_seconds,
            last_status=RunStatus.REJECTED
            if entity.path in rejected
            else entity.timeline.last_sync_status,
            held_deletions=entity.position.held_deletions,
        ).value
        for entity in entities
    }


def word_text(word: str) -> Text:
    """A status word in its colour."""
    return Text(word, style=_STYLES.get(word, ""))


def _facts(entity: Entity) -> dict[str, Any]:
    """The fields of an entity and of its parts, on one level."""
    parts = (entity.policy, entity.position, entity.timeline)
    facts = {field.name: getattr(entity, field.name) for field in fields(EntityDefinition)}
    for part in parts:
        facts |= {field.name: getattr(part, field.name) for field in fields(part)}
    del facts["own_columns"]
    return facts


def shown(entity: Entity) -> dict[str, Any]:
    """An entity as JSON-ready data."""
    return {
        "path": entity.path,
        **_facts(entity),
        "uid": str(entity.uid),
        "table": entity.table,
        "delta_strategy": entity.delta_strategy.value,
        "status": entity.status.value,
        "columns": [column.as_json() for column in entity.columns],
        "cursor_marks": [mark.as_json() for mark in entity.position.cursor_marks],
    }
