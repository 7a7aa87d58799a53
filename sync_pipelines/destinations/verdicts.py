"""How a staged record s compares with its row t: the rules that hold in every destination, as SQL."""

from __future__ import annotations

from dataclasses import dataclass

from sync_pipelines.destinations.dialect import Dialect, Quote
from sync_pipelines.destinations.hashes import covers_columns, stored_hash
from sync_pipelines.destinations.order import order_of
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import REJECTED_COLUMN, Entity
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.run import Mode
from sync_pipelines.model.staged import staged_keys, staged_places


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
        below = self.stale + self.contrary
        return self.new + below + self.changed + self.returned + self.touched + self.same

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
        hashed: the hash is of this content and of these columns.
    """

    match: str
    stale: str
    contrary: str
    changed: str
    touched: str
    hashed: str

    @property
    def moves(self) -> str:
        """The row gets other content or comes back, so that readers must see it as updated."""
        return f"(t._bridge_deleted OR {self.changed})"

    @property
    def writes(self) -> str:
        """The record changes its row."""
        return f"NOT {self.stale} AND ({self.moves} OR {self.touched})"

    @property
    def same(self) -> str:
        """The row is as the record is, by its hash alone: a row whose hash covers other columns counts as different."""
        return f"({self.hashed} AND NOT t._bridge_deleted AND NOT {self.touched})"

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
    entity = request.entity
    changed = _changed(dialect, entity)
    return Rules(
        match=match_keys(dialect.quote, entity),
        stale=_stale(dialect, request, read),
        # A record out of quarantine may well be older than its row.
        contrary="false" if request.released else changed,
        changed=changed,
        touched=_touched(request),
        hashed=f"t._bridge_hash = {stored_hash(entity)}",
    )


def match_keys(quote: Quote, entity: Entity) -> str:
    """A condition: the keys of t and s are the same."""
    pairs = zip(entity.business_keys, staged_keys(entity), strict=True)
    return " AND ".join(f"t.{quote(column.target_name)} = s.{place}" for column, place in pairs)


def newest_first(dialect: Dialect, read: ReadResult) -> str:
    """What follows ORDER BY among records of one key: the highest rowversion, then the one read last."""
    order = order_of(dialect, read.order, "rowversion")
    return "arrival DESC" if order is None else f"{order} DESC NULLS LAST, arrival DESC"


def age_among_records(
    dialect: Dialect,
    request: PublishRequest,
    read: ReadResult,
) -> str:
    """A window function over staged records: 1 for the newest of each key."""
    keys = ", ".join(staged_keys(request.entity))
    return f"row_number() OVER (PARTITION BY {keys} ORDER BY {newest_first(dialect, read)})"


def row_is_newer(dialect: Dialect, codec: Codec | None) -> str | None:
    """A condition: the row t orders above the record s; None when they have no order."""
    theirs = order_of(dialect, codec, "s.rowversion")
    ours = order_of(dialect, codec, "t._bridge_rowversion")
    return None if theirs is None else f"coalesce({theirs} < {ours}, false)"


def _stale(dialect: Dialect, request: PublishRequest, read: ReadResult) -> str:
    newer = row_is_newer(dialect, read.order) if request.mode is Mode.DELTA else None
    stale = newer or "false"
    # A record of a deleted row is newer, whatever its rowversion: the source sends it after the read that missed it.
    return stale if request.released else f"({stale} AND NOT t._bridge_deleted)"


def _changed(dialect: Dialect, entity: Entity) -> str:
    places = staged_places(entity)
    differs = [
        f"t.{dialect.quote(column.target_name)} IS DISTINCT FROM s.{places[column.name]}"
        for column in entity.columns
        if not column.is_business_key
    ]
    by_content = " OR ".join(differs) or "false"
    by_hash = f"t._bridge_hash <> {stored_hash(entity)}"
    return f"CASE WHEN {covers_columns(entity)} THEN {by_hash} ELSE {by_content} END"


def _touched(request: PublishRequest) -> str:
    entity = request.entity
    other_hash = f"t._bridge_hash <> {stored_hash(entity)}"
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
