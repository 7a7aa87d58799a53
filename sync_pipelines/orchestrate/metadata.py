"""What the Dagster UI shows of an entity and of a run, in Dagster's own vocabulary; plain numbers become plots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dagster as dg

from sync_pipelines.catalog.table_overview import TableOverview, accept_command
from sync_pipelines.destinations.registry import kind_of
from sync_pipelines.discovery.report import DiscoveryReport
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.run import RunResult
from sync_pipelines.orchestrate.markdown import markdown_list, markdown_table, markdown_text
from sync_pipelines.orchestrate.snapshot import CatalogView
from sync_pipelines.secrets import printable, redact

# Column schemas of more entities make the location's snapshot too large for the UI.
MAX_SCHEMAS = 2000
MAX_FOUND = 200
_DISCOVERED = (
    "added",
    "changed",
    "returned",
    "vanished",
    "stopped",
    "invalid",
    "set_aside",
    "unchanged",
)
_FOUND_SCHEMA = dg.TableSchema(
    [
        dg.TableColumn("entity", "string"),
        dg.TableColumn("found", "string"),
        dg.TableColumn("why", "string"),
    ]
)
_REJECT_COLUMNS = {
    "page": "int",
    "key": "string",
    "column": "string",
    "reason": "string",
}
_REJECT_SCHEMA = dg.TableSchema([dg.TableColumn(*column) for column in _REJECT_COLUMNS.items()])


def table_schema(entity: Entity) -> dg.TableSchema:
    """The table's columns with types and constraints."""
    columns = [_table_column(column, entity.destination) for column in entity.columns]
    return dg.TableSchema(columns)


def full_table_name(entity: Entity, view: CatalogView) -> str:
    """Database or catalog, schema and table."""
    options = view.destination_options.get(entity.connector, {})
    return kind_of(entity.destination).table_name(
        entity,
        view.database_name,
        options,
    )


def storage_kinds(entity: Entity, view: CatalogView) -> set[str]:
    """What the table is, as Dagster's kinds."""
    return kind_of(entity.destination).storage_kinds(
        view.destination_options.get(entity.connector, {})
    )


def _table_column(column: Column, destination: str) -> dg.TableColumn:
    description = markdown_text(f"declared as {column.data_type}")
    constraints = dg.TableColumnConstraints(nullable=column.is_nullable, unique=False)
    if column.is_business_key:
        description += ", business key"
        constraints = dg.TableColumnConstraints(
            nullable=False,
            unique=False,
            other=["business key"],
        )
    sql_type = kind_of(destination).column_type(column.type)
    return dg.TableColumn(column.target_name, sql_type, description, constraints)


def definition_metadata(
    entity: Entity,
    table_name: str,
    base_url: str | None,
    *,
    path: str | None,
    with_schema: bool,
    stale_because: str | None,
) -> dict[str, Any]:
    """Metadata of the asset itself."""
    metadata: dict[str, Any] = {
        "dagster/table_name": table_name,
        "strategy": str(entity.delta_strategy),
        "business_key": ", ".join(column.name for column in entity.business_keys),
        "sync_interval_seconds": entity.policy.sync_interval_seconds,
        "status": str(entity.status),
    }
    if base_url:
        metadata["dagster/uri"] = redact(f"{base_url}{path or '/api/v1/data/' + entity.slug}")
    if entity.status_reason:
        metadata["status_reason"] = entity.status_reason
    if stale_because:
        metadata["last_known_catalog"] = (
            f"The catalog could not be read when this was loaded: {redact(stale_because)}"
        )
    if with_schema:
        metadata["dagster/column_schema"] = table_schema(entity)
    return metadata


def run_metadata(entity: Entity, result: RunResult) -> dict[str, Any]:
    """Metadata of one materialization."""
    ledger = result.ledger
    metadata: dict[str, Any] = {
        "dagster/row_count": result.row_count,
        "records_fetched": ledger.fetched,
        "records_inserted": ledger.inserted,
        "records_updated": ledger.updated,
        "records_unchanged": ledger.unchanged,
        "records_superseded": ledger.superseded,
        "records_quarantined": ledger.quarantined,
        **gate_counts(result),
        "rows_deleted": ledger.deleted,
        "rows_per_second": round(result.rows_per_second, 1),
        "duration_seconds": round(result.duration_seconds, 3),
        "bytes_wire": result.bytes_wire,
        "pages": result.pages,
        "requests": result.requests,
        "api_seconds_p95": round(result.api_seconds_p95, 4),
        "api_seconds_max": round(result.api_seconds_max, 4),
        "cursor": result.rowversion_end or "none",
        "mode": str(result.mode),
        "balance": balance_sheet(result),
        "sync_run": str(result.uid),
        "dagster/column_schema": table_schema(
            replace(entity, columns=result.columns or entity.columns)
        ),
    }
    for name, value in result.storage.items():
        # An id has more digits than a browser's numbers.
        metadata[name] = str(value) if name.endswith("_id") else value
    for name, figure in result.metrics.items():
        metadata.setdefault(name, figure)
    if result.table_changes:
        metadata["table_changes"] = markdown_list(result.table_changes)
    if result.coerced:
        counts = [f"{name} {count}" for name, count in sorted(result.coerced.items())]
        metadata["coerced"] = ", ".join(counts)
    if result.warnings:
        metadata["warnings"] = markdown_list(result.warnings)
    return metadata


def overview_metadata(overview: TableOverview) -> dict[str, Any]:
    """How the table is now: open quarantine, what is wrong and the command for it, and when it is due."""
    metadata: dict[str, Any] = {
        "status": str(overview.status),
        "open_quarantine": overview.open_quarantine,
    }
    if overview.last_status is not None:
        metadata["last_run"] = str(overview.last_status)
    if overview.held_deletions:
        metadata["held_deletions"] = overview.held_deletions
    if overview.trouble is not None:
        what, command = overview.trouble
        metadata |= {"trouble": printable(what, 1000), "next_command": redact(command)}
    if overview.next_due_at is not None and overview.sync_enabled and not overview.is_stopped:
        metadata["next_due"] = dg.MetadataValue.timestamp(overview.next_due_at)
    return metadata


def gate_counts(result: RunResult) -> dict[str, Any]:
    """How the entity's gate judged the records of a run, second readings included; empty without a gate."""
    gate = result.gate
    if not gate:
        return {}
    judged = gate["passed"] + gate["reviewed"] + gate["rejected"]
    share = gate["rejected"] / judged if judged else 0.0
    counts: dict[str, Any] = {
        "gate_passed": gate["passed"],
        "gate_reviewed": gate["reviewed"],
        "gate_rejected": gate["rejected"],
        "gate_waived": gate["waived"],
        "gate_rejected_share": round(share, 6),
    }
    rules = [*gate["failed"].items(), *gate["decided"].items()]
    if rules:
        counts["gate_rules"] = markdown_table(("rule", "records"), rules)
    return counts


def discovery_metadata(report: DiscoveryReport) -> dict[str, Any]:
    """What a discovery found: counts, which the UI plots, and a table of what is not as it was."""
    found = report.as_dict()
    metadata: dict[str, Any] = {}
    records: list[dg.TableRecord] = []
    for kind in _DISCOVERED:
        metadata[f"apis_{kind}"] = len(found[kind])
        if kind != "unchanged":
            records += _found_records(kind, found[kind])
    if records:
        shown = records[:MAX_FOUND]
        metadata["found"] = dg.MetadataValue.table(shown, _FOUND_SCHEMA)
    if report.stopped:
        stopped = list(report.stopped)[:MAX_FOUND]
        commands = [accept_command(report.connector, slug) for slug in stopped]
        metadata["next_command"] = "; ".join(commands)
    return metadata


def _found_records(kind: str, found: list[str] | dict[str, str]) -> list[dg.TableRecord]:
    """One record for each entity, with the reason where the discovery gives one."""
    reasons = found if isinstance(found, dict) else dict.fromkeys(found, "")
    records = []
    for slug, why in reasons.items():
        record = {
            "entity": slug,
            "found": kind,
            "why": redact(why),
        }
        records.append(dg.TableRecord(record))
    return records


def balance_sheet(result: RunResult) -> dg.MarkdownMetadataValue:
    """The ledger as a table: what came in, where it ended."""
    ledger = result.ledger
    sign = "✓" if ledger.balances else "✗"
    rows: list[tuple[str, str | int]] = [
        ("fetched", ledger.fetched),
        ("inserted", ledger.inserted),
        ("updated", ledger.updated),
        ("unchanged", ledger.unchanged),
        ("superseded", ledger.superseded),
        ("quarantined", ledger.quarantined),
        ("accounted for", f"{ledger.accounted} {sign}"),
    ]
    note = f"rows deleted: {ledger.deleted}, live rows now: {result.row_count}"
    return markdown_table(("", "records"), rows, note)


def reject_table(result: RunResult) -> dg.MetadataValue:
    """The first quarantined records of a run as a table."""
    records = []
    for sample in result.quarantine_sample:
        values = {name: sample[name] for name in _REJECT_COLUMNS}
        shown = {name: "" if value is None else value for name, value in values.items()}
        records.append(dg.TableRecord(shown))
    return dg.MetadataValue.table(records, _REJECT_SCHEMA)
