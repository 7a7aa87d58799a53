"""`sync-pipelines cursor`: how far an entity was read."""

from __future__ import annotations

from typing import Annotated

import typer

from sync_pipelines.catalog.entities import get_entity, set_cursor
from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.catalog.runs import hold_entity
from sync_pipelines.cli.commands.entities import PathArgument
from sync_pipelines.cli.shell.context import split_entity_path
from sync_pipelines.cli.shell.output import JsonOption, examples, print_json, say
from sync_pipelines.errors import CursorProtocolError, SettingsError
from sync_pipelines.model.cursor import Codec, infer_codec, order_key
from sync_pipelines.model.entity import DeltaStrategy, Entity

group = typer.Typer(
    no_args_is_help=True,
    help="How far an entity was read: look at it, put it by hand.",
    epilog=examples("cursor get erp/items", "cursor set erp/items --clear"),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(group, name="cursor")


@group.command(epilog=examples("cursor get erp/items", "cursor get erp/items --json"))
def get(context: typer.Context, path: PathArgument, as_json: JsonOption = False) -> None:
    """Print the cursor; an empty line when there is none."""
    database = open_catalog(context.obj)
    connector, slug = split_entity_path(path)
    entity = get_entity(database, connector, slug)
    _show(entity, as_json=as_json)


@group.command(
    "set", epilog=examples("cursor set erp/items 20260101000000", "cursor set erp/items --clear")
)
def set_(
    context: typer.Context,
    path: PathArgument,
    value: Annotated[
        str | None, typer.Argument(help="The rowversion after which the next sync reads.")
    ] = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Forget it: the next sync reads everything.")
    ] = False,
    codec: Annotated[Codec | None, typer.Option(help="How rowversions are compared.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Put the cursor by hand; rows below it that were never read stay unread until a full refresh."""
    if (value is None) == (not clear) or value == "":
        raise SettingsError("Give either a value or --clear.", state="Nothing was changed.")
    database = open_catalog(context.obj)
    connector, slug = split_entity_path(path)
    entity = get_entity(database, connector, slug)
    if value is not None and entity.delta_strategy is not DeltaStrategy.ROWVERSION:
        raise SettingsError(
            f"{entity.path} is read whole each time (strategy {entity.delta_strategy}); it has no cursor.",
            state="Nothing was changed.",
        )
    chosen = codec or entity.position.cursor_codec
    if value is not None:
        chosen = chosen or infer_codec([value])
        try:
            order_key(chosen, value)
        except CursorProtocolError as error:
            raise SettingsError(error.what, state="Nothing was changed.") from None
    with hold_entity(database, entity, context.obj.runs.entity_wait_seconds):
        set_cursor(database, entity, value, chosen)
    entity = get_entity(database, connector, slug)
    if as_json:
        _show(entity, as_json=True)
    elif value:
        position = entity.position
        say(f"{entity.path}: cursor {position.cursor} ({position.cursor_codec})")
    else:
        say(f"{entity.path}: no cursor; the next sync reads everything")


def _show(entity: Entity, *, as_json: bool) -> None:
    position = entity.position
    if not as_json:
        say(position.cursor or "")
        return
    marks = [mark.as_json() for mark in position.cursor_marks]
    shown = {
        "path": entity.path,
        "cursor": position.cursor,
        "codec": position.cursor_codec,
        "marks": marks,
    }
    print_json(shown)
