"""What a person does with a quarantined record: fix it, waive the rules for it, release it, let it expire.

Everything is logged.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.records import split_records
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.catalog.quarantine import (
    get_quarantined,
    log_action,
    open_of,
    set_edited,
    set_waived,
)
from sync_pipelines.errors import BrokenPageError, SettingsError
from sync_pipelines.gate.contract import judge_batch
from sync_pipelines.gate.opened import OpenedGate
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.run import RunResult
from sync_pipelines.runs.prepared_gate import prepare_gate
from sync_pipelines.runs.sync import sync_entity
from sync_pipelines.settings import Settings, load_settings

MAX_AT_ONCE = 10_000


def fix_record(
    database: Database,
    uid: UUID,
    values: dict[str, Any] | None,
    record: bytes | None,
    *,
    author: str,
    reason: str,
    settings: Settings | None = None,
) -> None:
    """Keep an edited version of a quarantined record, which a release then takes. The record as it came stays, too.

    Args:
        database: the catalog.
        uid: of the record.
        values: new values by column, or None.
        record: a whole new record, or None.
        author, reason: for the log.
        settings: the process settings when None.

    Raises:
        SettingsError: the record would be refused again, with the reason.
    """
    settings, row = settings or load_settings(), _open_row(database, uid)
    entity = get_entity(database, *row["path"].split("/", 1))
    if record is None:
        record = _changed(bytes(row["edited_record"] or row["record"]), values or {}, entity)
        clear = frozenset(values or {})
    else:
        clear = frozenset(column.name for column in entity.columns)
    gate = prepare_gate(database, settings, entity)
    judged = gate.for_masked(clear) if gate is not None else None
    refusal = refusal_of(record, judged.entity if judged is not None else entity, judged, uid)
    if refusal is not None:
        raise SettingsError(
            f"The edited record would be refused again: {refusal}",
            state="Nothing was stored.",
            next_command=f"sync-pipelines quarantine show {uid}",
        )
    kept = (
        gate.masks.restricted(clear).hide_record(record)
        if gate is not None and gate.masks is not None
        else record
    )
    with database.connect() as connection:
        set_edited(connection, uid, kept)
        log_action(
            connection,
            row["path"],
            "fix",
            author,
            reason,
            record_uid=uid,
            details={"columns": sorted(values or {})},
        )


def waive_record(database: Database, uid: UUID, *, author: str, reason: str) -> None:
    """Let a record pass whatever the rules of its gate say; the contract of its types is not waived."""
    row = _open_row(database, uid)
    with database.connect() as connection:
        set_waived(connection, uid)
        log_action(connection, row["path"], "waive", author, reason, record_uid=uid)


def release_records(
    database: Database,
    uids: Sequence[UUID],
    *,
    author: str,
    reason: str,
    settings: Settings | None = None,
) -> list[RunResult]:
    """Send quarantined records the whole way again: decode, conform, gate, load, ledger; one run per entity.

    Returns:
        The runs; a record that is refused again stays in quarantine.

    Raises:
        SettingsError: a record is no JSON or hides what it failed for, and was neither fixed nor waived.
    """
    settings = settings or load_settings()
    if not 0 < len(uids) <= MAX_AT_ONCE:
        raise SettingsError(
            f"Between 1 and {MAX_AT_ONCE} records can be released at once.",
            state="Nothing was changed.",
        )
    rows = [_open_row(database, uid) for uid in dict.fromkeys(uids)]
    entities = {
        path: get_entity(database, *path.split("/", 1))
        for path in dict.fromkeys(row["path"] for row in rows)
    }
    by_path: dict[str, dict[UUID, bytes]] = {}
    for row in rows:
        by_path.setdefault(row["path"], {})[row["uid"]] = _releasable(row, entities[row["path"]])
    results = []
    for path, records in by_path.items():
        connector, slug = path.split("/", 1)
        result = sync_entity(
            database,
            connector,
            slug,
            triggered_by=f"release by {author}",
            released=records,
            settings=settings,
        )
        with database.connect() as connection:
            refused = open_of(connection, list(records))
            for uid in records:
                outcome = "refused again" if uid in refused else "released"
                log_action(
                    connection,
                    path,
                    "release",
                    author,
                    reason,
                    record_uid=uid,
                    run_uid=result.uid,
                    details={"outcome": outcome},
                )
        results.append(result)
    return results


def refusal_of(
    record: bytes, entity: Entity, gate: OpenedGate | None, uid: UUID | None = None
) -> str | None:
    """Why a record would go to quarantine; None when it would not."""
    _check_json(record, uid)
    batch = PageDecoder(entity).decode_one(record)
    if isinstance(batch, str):
        return batch
    violations = judge_batch(entity, batch)
    if gate is not None:
        violations = gate.judge(batch, violations).rejects
    return violations[0].reason if violations else None


def _open_row(database: Database, uid: UUID) -> dict[str, Any]:
    row = get_quarantined(database, uid)
    if row["resolved_at"] is not None:
        raise SettingsError(
            f"The record {uid} is settled already ({row['resolution']}).",
            state="Nothing was changed.",
            next_command=f"sync-pipelines quarantine show {uid}",
        )
    return row


def _releasable(row: dict[str, Any], entity: Entity) -> bytes:
    uid, record = row["uid"], bytes(row["edited_record"] or row["record"])
    _check_json(record, uid)
    if (
        row["column_name"] in entity.position.stored_masks
        and row["edited_record"] is None
        and row["waived_at"] is None
    ):
        raise SettingsError(
            f"The record {uid} was refused for {row['column_name']}, which is masked, so it cannot be judged again.",
            state="Nothing was released.",
            next_command=f"sync-pipelines quarantine fix {uid} --set {row['column_name']}=…, or waive it",
        )
    return record


def _check_json(record: bytes, uid: UUID | None) -> None:
    try:
        whole = len(split_records(b'{"rows":[' + record + b"]}")) == 1
    except BrokenPageError:
        whole = False
    if not whole:
        raise SettingsError(
            f"The record {uid or ''} is not JSON, so it cannot be released as it is.",
            state="Nothing was changed.",
            next_command=f"sync-pipelines quarantine fix {uid or 'UID'} --record FILE",
        )


def _changed(record: bytes, values: dict[str, Any], entity: Entity) -> bytes:
    known = {column.name for column in entity.columns}
    unknown = sorted(set(values) - known)
    if unknown or not values:
        raise SettingsError(
            f"{entity.path} has no column {unknown[0]!r}."
            if unknown
            else "Nothing is to be changed.",
            state="Nothing was stored.",
        )
    try:
        # Numbers stay as they were written.
        whole = json.loads(record, parse_float=_Literal, parse_int=_Literal)
        whole["data"].update(values)
        changed = _dumped(whole)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise SettingsError(
            "The record has no readable data to change; give a whole new one.",
            state="Nothing was stored.",
            next_command="sync-pipelines quarantine fix UID --record FILE",
        ) from None
    return changed.encode("utf-8", errors="surrogatepass")


class _Literal(str):
    """A number as it was written."""


def _dumped(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{json.dumps(name)}:{_dumped(inner)}" for name, inner in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(_dumped, value)) + "]"
    return str(value) if isinstance(value, _Literal) else json.dumps(value)
