"""How a staged record s compares with its row t: the rules that hold in every destination, as SQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import REJECTED_COLUMN, Column, Entity
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.run import Mode


class Quote(Protocol):
    """Quotes and joins the names of an identifier."""

    def __call__(self, *names: str) -> str:
        """The identifier."""


@dataclass(frozen=True)
class Dialect:
    """What the rules need of a destination's SQL.

    Attributes:
        quote: an identifier.
        literal: a text constant.
        order_of: an expression that orders rowversions as a codec does; None when only the source knows.
    """

    quote: Quote
    literal: Callable[[str], str]
    order_of: Callable[[Codec | None, str], str | None]


@dataclass(frozen=True)
class Counts:
    """How staged records, one of each key, and the table compare.

    Attributes:
        new: keys that the table does not have.
        stale: below the row that is there, with its content.
        contrary: below the row that is there, with other content.
        changed: other content.
        returned: of rows that were deleted.
        touched: same content under another rowversion.
        same: nothing differs.
        missing: live rows that no staged record has the key of; counted by full reads only.
    """

    new: int = 0
    stale: int = 0
    contrary: int = 0
    changed: int = 0
    returned: int = 0
    touched: int = 0
    same: int = 0
    missing: int = 0

    @property
    def staged(self) -> int:
        """Records that were compared."""
        return (
            self.new
            + self.stale
            + self.contrary
            + self.changed
            + self.returned
            + self.touched
            + self.same
        )

    @property
    def updated(self) -> int:
        """Rows that are there and must be written."""
        return self.changed + self.returned + self.touched

    @property
    def written(self) -> int:
        """Rows that must be written."""
        return self.new + self.updated

    @property
    def live_before(self) -> int:
        """Live rows that a full read found in the table before it changed anything."""
        return self.changed + self.touched + self.same + self.missing


@dataclass(frozen=True)
class Rules:
    """Conditions over a row t and a staged record s of its key.

    A row whose hash covers other columns is compared by its content. A full read leaves its hash alone, since a new
    column that is null almost everywhere would otherwise rewrite the whole table; a delta rewrites the few rows that
    it meets.

    Attributes:
        match: the keys are the same.
        stale: the row is newer.
        contrary: the row is newer, and that cannot be.
        changed: the content differs.
        touched: only rowversion, flag, mark or hash differ.
    """

    match: str
    stale: str
    contrary: str
    changed: str
    touched: str

    @property
    def moves(self) -> str:
        """The row gets other content or comes back, so that readers must see it as updated."""
        return f"(t._bridge_deleted OR {self.changed})"

    @property
    def verdict(self) -> str:
        """An expression that gives one of the names of `Counts`."""
        return (
            "CASE WHEN s.arrival IS NULL THEN 'missing' WHEN t._bridge_id IS NULL THEN 'new'"
            f" WHEN {self.stale} THEN CASE WHEN {self.contrary} THEN 'contrary' ELSE 'stale' END"
            " WHEN t._bridge_deleted THEN 'returned'"
            f" WHEN {self.changed} THEN 'changed' WHEN {self.touched} THEN 'touched' ELSE 'same' END"
        )


def rules_of(dialect: Dialect, request: PublishRequest, read: ReadResult) -> Rules:
    """The rules of one run."""
    changed = _changed(dialect, request.entity)
    # A record out of quarantine may well be older than its row.
    contrary = "false" if request.released else changed
    return Rules(
        match=match_keys(dialect.quote, request.entity),
        stale=_stale(dialect, request, read),
        contrary=contrary,
        changed=changed,
        touched=_touched(dialect, request),
    )


def match_keys(quote: Quote, entity: Entity) -> str:
    """SQL: the keys of t and s are the same."""
    places = _places(entity)
    return " AND ".join(
        f"t.{quote(column.target_name)} = s.{places[column.name]}"
        for column in entity.business_keys
    )


def _stale(dialect: Dialect, request: PublishRequest, read: ReadResult) -> str:
    theirs, ours = (
        dialect.order_of(read.order, name) for name in ("s.rowversion", "t._bridge_rowversion")
    )
    guarded = theirs is not None and request.mode is Mode.DELTA
    stale = f"coalesce({theirs} < {ours}, false)" if guarded else "false"
    # A record of a deleted row is newer, whatever its rowversion: the source sends it after the read that missed it.
    return stale if request.released else f"({stale} AND NOT t._bridge_deleted)"


def _changed(dialect: Dialect, entity: Entity) -> str:
    places, prefix = _places(entity), _prefix(dialect, entity)
    columns: list[Column] = [column for column in entity.columns if not column.is_business_key]
    differs = [
        f"t.{dialect.quote(column.target_name)} IS DISTINCT FROM s.{places[column.name]}"
        for column in columns
    ]
    by_content = " OR ".join(differs) or "false"
    same_columns = f"starts_with(t._bridge_hash, {prefix})"
    return (
        f"CASE WHEN {same_columns} THEN t._bridge_hash <> {prefix} || s.hash ELSE {by_content} END"
    )


def _touched(dialect: Dialect, request: PublishRequest) -> str:
    entity = request.entity
    other_hash = f"t._bridge_hash <> {_prefix(dialect, entity)} || s.hash"
    touches = ["t._bridge_rowversion IS DISTINCT FROM s.rowversion"]
    touches += [f"t.{column} IS DISTINCT FROM s.{name}" for name, column in entity.flags.items()]
    if entity.has_rejected:
        touches.append(f"t.{REJECTED_COLUMN} IS NOT NULL")
    if request.mode is Mode.DELTA:
        touches.append(other_hash)
    elif entity.has_review:
        # What a person accepts is known by its hash.
        touches.append(f"(s.review IS NOT NULL AND {other_hash})")
    return f"({' OR '.join(touches)})"


def _places(entity: Entity) -> dict[str, str]:
    return {column.name: f"c{index}" for index, column in enumerate(entity.columns)}


def _prefix(dialect: Dialect, entity: Entity) -> str:
    return dialect.literal(f"{entity.columns_fingerprint}:")
