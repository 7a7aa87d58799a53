"""Write one corrected record to its source: ordered by a person, never by a sync.

The table stays a copy of the source. So the entity is synced first, the whole record is sent with the changes by PUT,
which may be repeated without harm, and a second sync brings back what the source made of it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote as url_quote

from sync_pipelines.batches.raw_json import members
from sync_pipelines.batches.sieve import is_cut
from sync_pipelines.batches.values import convert
from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.errors import ConfigurationError, NotFoundError, RecordError, SettingsError
from sync_pipelines.model.entity import COERCED_COLUMN, REJECTED_COLUMN, Column, Connector, Entity
from sync_pipelines.model.quoting import quote
from sync_pipelines.model.tables import target_of
from sync_pipelines.model.types import Kind
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.http.traffic import Traffic
from sync_pipelines.sources.registry import open_source, source_kind
from sync_pipelines.sources.source import WritableSource


@dataclass(frozen=True)
class WritePlan:
    """What would be sent.

    Attributes:
        path: at the source.
        changes: by column, (text before, text after); empty when the row is so already.
        body: the JSON of the PUT.
    """

    connector: Connector
    entity: Entity
    key: str
    path: str
    changes: dict[str, tuple[str | None, str | None]]
    body: bytes


def _canonical(column: Column, value: str | None) -> str | None:
    """The canonical text of a value that a person gives for a column; None = null."""
    if value is None:
        return None
    try:
        text = convert(_typed(value, column.type.kind), column.type)
    except RecordError as error:
        raise SettingsError(f"{column.name}: {error.what}", state="Nothing was sent.") from None
    longest = column.type.length
    if text is not None and longest is not None and len(text) > longest:
        raise SettingsError(
            f"{column.name}: it takes {longest} characters at most.", state="Nothing was sent."
        )
    return text


def plan_write_back(
    database: Database,
    connector_name: str,
    slug: str,
    key: str,
    values: dict[str, str | None],
    settings: Settings,
) -> WritePlan:
    """Sync the entity, then compare its row with the wanted values.

    Args:
        database: catalog and table.
        connector_name, slug: the entity; its endpoint must declare `write_back`.
        key: the row's business key.
        values: new values by column, as text; None = null.
        settings: of the process.

    Raises:
        ConfigurationError: the endpoint has no `write_back`, or the table is not what the source sent: it has masks, or
            is in Trino, whose types are others.
        SettingsError: a column that may not be changed, or a value that is not of its type.
        NotFoundError: no live row has the key.
        SyncError: from the sync.
    """
    connector = get_connector(database, connector_name)
    entity = get_entity(database, connector_name, slug)
    declared = source_kind(connector).write_back_for(connector, slug)
    if declared is None:
        raise ConfigurationError(
            f"{entity.path} declares no write_back, so nothing is ever written to its source.",
            state="Nothing was sent.",
        )
    _check_can_go_back(entity)
    columns = {column.name: column for column in entity.columns}
    texts = _canonical_texts(columns, declared.columns, values)
    sync_entity(database, connector_name, slug, triggered_by="write-back", settings=settings)
    _check_unmasked(get_entity(database, connector_name, slug))
    row = _row(database, entity, key)
    _check_as_sent(entity, key, row)
    wanted = _as_in_a_row(database, columns, texts)
    changes = {}
    for name, raw in wanted.items():
        before = _text(row.get(columns[name].target_name))
        after = _text(raw)
        if before != after:
            changes[name] = (before, after)
    source = _writable(database, connector, entity, settings)
    paths = source.paths
    record = _raw_record(source, entity, key, settings)
    # An object that is a column as a whole goes before the columns out of it.
    for name in sorted(changes, key=lambda name: len(paths[name])):
        record = _changed(record, paths[name], wanted[name])
    path = declared.path.replace("{id}", url_quote(key, safe=""))
    return WritePlan(connector, entity, key, path, changes, record)


def _check_can_go_back(entity: Entity) -> None:
    """Refuse an entity whose rows do not show how the source wrote them."""
    if entity.destination != "postgres":
        raise ConfigurationError(
            f"The table of {entity.path} is in {entity.destination}; only rows of PostgreSQL are written back.",
            state="Nothing was sent.",
        )
    # The row has the bytes, but not in which notation the source wrote them.
    binary = [column.name for column in entity.columns if column.type.kind is Kind.BYTES]
    if binary:
        raise ConfigurationError(
            f"{entity.path} has bytes ({', '.join(binary)}), which cannot be sent back as they came.",
            state="Nothing was sent.",
        )


def _canonical_texts(
    columns: dict[str, Column], writable: list[str], values: dict[str, str | None]
) -> dict[str, str | None]:
    """The canonical texts of the values that a person gives, by column."""
    texts: dict[str, str | None] = {}
    for name, value in values.items():
        if name not in writable or name not in columns:
            raise SettingsError(
                f"{name!r} may not be written; declared are {', '.join(writable)}.",
                state="Nothing was sent.",
            )
        texts[name] = _canonical(columns[name], value)
    return texts


def _check_unmasked(entity: Entity) -> None:
    masked = entity.position.stored_masks
    if masked:
        raise ConfigurationError(
            f"{entity.path} has masks ({', '.join(sorted(masked))}), so its rows are not what the source would"
            " get back.",
            state="Nothing was sent.",
        )


def _writable(
    database: Database, connector: Connector, entity: Entity, settings: Settings
) -> WritableSource:
    source = open_source(ReadContext(database, connector, entity, settings))
    assert isinstance(source, WritableSource)  # only those declare a write-back
    return source


def _raw_record(source: WritableSource, entity: Entity, key: str, settings: Settings) -> bytes:
    """The record as the source has it, byte for byte, so that nothing goes back but what it gave and what was asked."""
    found = source.find_raw(key, Traffic(), settings.runs.max_record_bytes)
    if found is None:
        raise NotFoundError(
            f"The source of {entity.path} does not show the record {key!r} that its table has.",
            where=dict(entity.where),
            state="Nothing was sent.",
            next_command=f"sync-pipelines sync {entity.path} --full-refresh",
        )
    if is_cut(found):
        raise ConfigurationError(
            f"The record {printable(key)} of {entity.path} is larger than MAX_RECORD_BYTES, so it would go back"
            " without its largest values.",
            where=dict(entity.where),
            state="Nothing was sent.",
            next_command="raise MAX_RECORD_BYTES",
        )
    return found


def apply_write_back(
    database: Database, plan: WritePlan, settings: Settings
) -> dict[str, str | None]:
    """Send the record and sync.

    Returns:
        The changes that the source does not show, by column, with its text; empty when all is well.

    Raises:
        SyncError: the source refused, or the sync failed.
    """
    once = hashlib.sha256(plan.path.encode() + b"\n" + plan.body).hexdigest()
    source = _writable(database, plan.connector, plan.entity, settings)
    source.write(plan.path, plan.body, once=once)
    sync_entity(
        database,
        plan.connector.name,
        plan.entity.slug,
        triggered_by="write-back",
        settings=settings,
    )
    row = _row(database, plan.entity, plan.key)
    names = {column.name: column.target_name for column in plan.entity.columns}
    lost = {}
    for name, (_, wanted) in plan.changes.items():
        shown = _text(row.get(names[name]))
        if shown != wanted:
            lost[name] = shown
    return lost


def _row(database: Database, entity: Entity, key: str) -> dict[str, bytes]:
    """The live row's values as JSON, numbers with all their digits."""
    key_column = quote(entity.business_keys[0].target_name)
    table = target_of(entity)
    with database.connect() as connection:
        found = connection.execute(
            # A column may be called as the table's alias is; none of a source begins with _bridge.
            f"SELECT to_jsonb(_bridge_row.*)::text AS row FROM {table} _bridge_row"
            f" WHERE {key_column}::text = %s AND NOT _bridge_deleted",
            [key],
        ).fetchone()
    if found is None:
        raise NotFoundError(
            f"{entity.table} has no live row with the key {key!r}.",
            where=dict(entity.where),
            state="Nothing was sent.",
        )
    return members(found["row"].encode()) or {}


def _check_as_sent(entity: Entity, key: str, row: dict[str, bytes]) -> None:
    """Refuse a row that differs from the source: sent back whole, it would overwrite fields that nobody changed."""
    reasons = {
        COERCED_COLUMN: "values of it were cut or left out when it came",
        REJECTED_COLUMN: "its newest record is in quarantine",
    }
    for column, reason in reasons.items():
        if _text(row.get(column)) is not None:
            raise ConfigurationError(
                f"The row {printable(key)} of {entity.table} is not what the source has: {reason}.",
                state="Nothing was sent.",
            )


def _as_in_a_row(
    database: Database, columns: dict[str, Column], texts: dict[str, str | None]
) -> dict[str, bytes]:
    """Texts as the JSON of `_row` has them, so that both compare and times keep their zone."""
    found: dict[str, bytes] = {}
    with database.connect() as connection:
        for name, text in texts.items():
            statement = f"SELECT to_jsonb(%s::text::{columns[name].type.sql})::text AS value"
            row = connection.execute(statement, [text]).fetchone()
            found[name] = b"null" if row is None or row["value"] is None else row["value"].encode()
    return found


def _typed(value: str, kind: Kind) -> Any:
    if kind is Kind.BOOLEAN and value in ("true", "false"):
        return value == "true"
    return value


def _text(raw: bytes | None) -> str | None:
    if raw is None or raw == b"null":
        return None
    value = json.loads(raw, parse_float=str, parse_int=str)
    return value if isinstance(value, str) else raw.decode()


def _changed(record: bytes, path: tuple[str, ...], raw: bytes) -> bytes:
    """An object with one member changed, all others byte for byte.

    Objects on the way are made where they are missing.
    """
    found = members(record) or {}
    old = found.get(path[0], b"null").strip()
    if len(path) > 1:
        found[path[0]] = _changed(old, path[1:], raw)
    else:
        found[path[0]] = _spelled_as(old, raw)
    inside = []
    for name, value in found.items():
        quoted = json.dumps(name, ensure_ascii=False).encode("utf-8", "backslashreplace")
        inside.append(quoted + b":" + value)
    return b"{" + b",".join(inside) + b"}"


def _spelled_as(old: bytes, raw: bytes) -> bytes:
    """A number or a truth value as a text where the source writes it so."""
    is_text = raw.startswith(b'"')
    is_nested = raw[:1] in (b"{", b"[")
    if not old.startswith(b'"') or is_text or is_nested or raw == b"null":
        return raw
    return b'"' + raw + b'"'
