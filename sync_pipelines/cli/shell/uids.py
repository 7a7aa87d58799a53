"""Uids as people type them: whole, or so many first letters that only one begins with them, as in git."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer
from psycopg import sql

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import NotFoundError, SettingsError

SHOWN_CHARACTERS = 8
_LEAST_CHARACTERS = 4
_MOST_CANDIDATES = 10
_PREFIX = re.compile(r"[0-9a-fA-F-]{4,36}")

UidArgument = Annotated[
    str,
    typer.Argument(
        metavar="UID",
        help="The uid, or so many of its first letters that only one begins with them.",
    ),
]


class Kind(StrEnum):
    """What has a uid; the value is its table in the catalog."""

    RUN = "sync_runs"
    INCIDENT = "incidents"
    RECORD = "quarantine"
    REVIEW = "reviews"


_WORDS = {
    Kind.RUN: "run",
    Kind.INCIDENT: "incident",
    Kind.RECORD: "quarantined record",
    Kind.REVIEW: "review",
}
_LISTS = {
    Kind.RUN: "runs",
    Kind.INCIDENT: "alerts",
    Kind.RECORD: "quarantine list --all",
    Kind.REVIEW: "review list --all",
}


def short(uid: UUID | str) -> str:
    """A uid as tables show it."""
    return str(uid)[:SHOWN_CHARACTERS]


def find_uid(database: Database, kind: Kind, text: str) -> UUID:
    """The one uid that begins with the text.

    A whole one is returned unseen, so that whoever looks for it says what is missing.

    Raises:
        SettingsError: the text is no beginning of a uid, or several begin with it; names them.
        NotFoundError: none begins with it.
    """
    digits = text.strip().lower().replace("-", "")
    if not _PREFIX.fullmatch(text.strip()) or not _LEAST_CHARACTERS <= len(digits) <= 32:
        raise SettingsError(
            f"{text!r} is no uid: it has {_LEAST_CHARACTERS} to 32 of the digits 0 to 9 and a to f.",
            state="Nothing was changed.",
            next_command=f"sync-pipelines {_LISTS[kind]}",
        )
    lowest = UUID(digits.ljust(32, "0"))
    highest = UUID(digits.ljust(32, "f"))
    if lowest == highest:
        return lowest
    query = sql.SQL("SELECT uid FROM {} WHERE uid BETWEEN %s AND %s ORDER BY uid LIMIT %s").format(
        sql.Identifier(kind.value)
    )
    with database.connect() as connection:
        found = [
            row["uid"] for row in connection.execute(query, [lowest, highest, _MOST_CANDIDATES + 1])
        ]
    if not found:
        raise NotFoundError(
            f"There is no {_WORDS[kind]} whose uid begins with {text}.",
            state="Nothing was changed.",
            next_command=f"sync-pipelines {_LISTS[kind]}",
        )
    if len(found) > 1:
        candidates = ", ".join(map(str, found[:_MOST_CANDIDATES])) + (
            " and more" if len(found) > _MOST_CANDIDATES else ""
        )
        raise SettingsError(
            f"{text} is ambiguous: {candidates}.",
            state="Nothing was changed.",
            next_command="type more letters of the one that is meant",
        )
    return UUID(str(found[0]))


def find_uids(database: Database, kind: Kind, texts: Iterable[str]) -> list[UUID]:
    """Each of several."""
    return [find_uid(database, kind, text) for text in texts]
