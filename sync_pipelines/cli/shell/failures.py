"""The one place where an error becomes a message and an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from sync_pipelines.cli.shell.output import JSON_FLAG, draw, print_json, say
from sync_pipelines.cli.shell.streams import steady_output
from sync_pipelines.errors import SyncError
from sync_pipelines.secrets import printable, redact

logger = logging.getLogger(__name__)

INTERRUPTED = 130
MESSAGE_CHARACTERS = 2000


# Commands whose whole work is what they print.
SHOWING = frozenset(
    {
        "audit",
        "check",
        "doctor",
        "due",
        "entities",
        "explain",
        "export",
        "get",
        "list",
        "log",
        "shadow",
        "show",
    }
)


class SafeGroup(TyperGroup):
    """Commands of which none ever shows a traceback or a secret, or fails because its output could not be shown."""

    def main(self, args: Sequence[str] | None = None, *positional: Any, **named: Any) -> Any:
        """Run with steady output; a lost output is the failure of a command that only shows."""
        words = list(sys.argv[1:] if args is None else args)
        with steady_output() as stdout:
            try:
                return super().main(words, *positional, **named)
            except SystemExit as ended:
                stdout.flush()
                if stdout.trouble is None or stdout.is_closed_by_reader:
                    raise
                only_shows = self._leaf(words) in SHOWING
                why = printable(str(stdout.trouble))
                rest = "nothing else was to be done" if only_shows else "the work was not affected"
                say(f"The output could not be written ({why}); {rest}.", stderr=True)
                raise SystemExit(ended.code or int(only_shows)) from None

    def _leaf(self, words: Sequence[str]) -> str:
        """The name of the command in a command line; `list` where a group has none."""
        group: Any = self
        for word in words:
            if word.startswith("-"):
                continue
            if word not in group.commands:
                break
            group = group.commands[word]
            if not hasattr(group, "commands"):
                return word
        return "list"

    def invoke(self, ctx: Any) -> Any:
        """Run the command; our errors keep their exit code, any other is 1."""
        try:
            return super().invoke(ctx)
        except SyncError as error:
            logger.debug("the command failed", exc_info=True)
            show_error(error, as_json=_wants_json(ctx))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            draw(Text("Interrupted."), stderr=True)
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if type(error).__module__.startswith(("typer", "click")):
                raise
            logger.debug("the command failed", exc_info=True)
            show_unexpected(error, as_json=_wants_json(ctx))
            raise typer.Exit(1) from None


def _wants_json(context: Any) -> bool:
    root = context.find_root()
    return bool(root.meta.get(JSON_FLAG))


class ListingGroup(TyperGroup):
    """A group whose bare name, or name and arguments, means `list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` in front of what is no subcommand."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def show_error(error: SyncError, *, as_json: bool = False) -> None:
    """What happened, where, in what state we are, what to type next."""
    if as_json:
        print_json({**error.details(), "exit_code": error.exit_code})
        return
    message = Text.assemble(("Error: ", "bold red"), printable(error.what, MESSAGE_CHARACTERS))
    if error.where:
        places = [f"{name} {printable(str(value))}" for name, value in error.where.items()]
        message.append("\nWhere: ", "bold")
        message.append(", ".join(places))
    if error.state:
        message.append("\nState: ", "bold")
        message.append(printable(error.state, MESSAGE_CHARACTERS))
    if error.next_command:
        message.append("\nNext:  ", "bold")
        message.append(printable(error.next_command, MESSAGE_CHARACTERS), "cyan")
    draw(message, stderr=True, soft_wrap=True)


def show_unexpected(error: BaseException, *, as_json: bool = False) -> None:
    """A fault of ours: one line."""
    what = f"{type(error).__name__}: {printable(str(error), 500)}"
    if as_json:
        print_json(
            {
                "error": type(error).__name__,
                "what": redact(what),
                "where": {},
                "exit_code": 1,
                "retriable": False,
            }
        )
        return
    message = Text.assemble(
        ("Error: ", "bold red"), what, "; set LOG_LEVEL=DEBUG for the traceback"
    )
    draw(message, stderr=True, soft_wrap=True)
