"""What the Dagster UI shows of an entity and of a run, in Dagster's own vocabulary; plain numbers become plots."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dagster as dg

from sync_pipelines.catalog.table_overview import TableOverview
from sync_pipelines.destinations.registry import kind_of
from sync_pipelines.discovery.report import DiscoveryReport
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.run import RunResult
from sync_pipelines.orchestrate.markdown import markdown_list, markdown_table, markdown_text
from sync_pipelines.orchestrate.snapshot import CatalogView
from sync_pipelines.secrets import printable, redact

MAX_SCHEMAS = (
    2000  # column schemas of more entities make the location's snapshot too large for the UI
)
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
    [dg.TableColumn(name, "string") for name in ("entity", "found", "why")]
)
_REJECT_SCHEMA = dg.TableSchema(
    [
        dg.TableColumn("page", "int"),
        *(dg.TableColumn(name, "string") for name in ("key", "column", "reason")),
    ]
)


def table_schema(entity: Entity) -> dg.TableSchema:
    """The table's columns with types and constraints."""
    return dg.TableSchema([_table_column(column, entity.destination) for column in entity.columns])


def full_table_name(entity: Entity, view: CatalogView) -> str:
    """Database or catalog, schema and table."""
    options = view.destination_options.get(entity.connector, {})
    return kind_of(entity.destination).table_name(entity, view.database_name, options)


def storage_kinds(entity: Entity, view: CatalogView) -> set[str]:
    """What the table is, as Dagster's kinds."""
    return kind_of(entity.destination).storage_kinds(
        view.destination_options.get(entity.connector, {})
    )


def _table_column(column: Column, destination: str) -> dg.TableColumn:
    description = markdown_text(f"declared as {column.data_type}") + (
        ", business key" if column.is_business_key else ""
    )
    constraints = dg.TableColumnConstraints(
        nullable=column.is_nullable and not column.is_business_key,
        unique=False,
        other=["business key"] if column.is_business_key else [],
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
    # An id has more digits than a browser's numbers.
    metadata |= {
        name: str(value) if name.endswith("_id") else value
        for name, value in result.storage.items()
    }
    metadata |= {name: figure for name, figure in result.metrics.items() if name not in metadata}
    if result.table_changes:
        metadata["table_changes"] = markdown_list(result.table_changes)
    if result.coerced:
        metadata["coerced"] = ", ".join(
            f"{name} {count}" for name, count in sorted(result.coerced.items())
        )
    if result.warnings:
        metadata["warnings"] = markdown_list(result.warnings)
    return metadata


def overview_metadata(overview: TableOverview) -> dict[str, Any]:
    """The overview of the table: open quarantine, what is wrong with the way out, and when it is due."""
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
    counts: dict[str, Any] = {
        f"gate_{verdict}": gate[verdict] for verdict in ("passed", "reviewed", "rejected", "waived")
    }
    judged = gate["passed"] + gate["reviewed"] + gate["rejected"]
    counts["gate_rejected_share"] = round(gate["rejected"] / judged, 6) if judged else 0.0
    rules = [rule for part in ("failed", "decided") for rule in gate[part].items()]
    if rules:
        counts["gate_rules"] = markdown_table(("rule", "records"), rules)
    return counts


def discovery_metadata(report: DiscoveryReport) -> dict[str, Any]:
    """What a discovery found: counts, which the UI plots, and a table of what is not as it was."""
    found = report.as_dict()
    metadata: dict[str, Any] = {f"apis_{kind}": len(found[kind]) for kind in _DISCOVERED}
    records = [
        dg.TableRecord(
            {
                "entity": slug,
                "found": kind,
                "why": redact(words[slug]) if isinstance(words, dict) else "",
            }
        )
        for kind in _DISCOVERED
        for words in [found[kind]]
        for slug in words
        if kind != "unchanged"
    ]
    if records:
        metadata["found"] = dg.MetadataValue.table(records[:MAX_FOUND], _FOUND_SCHEMA)
    if report.stopped:
        commands = [
            f"sync-pipelines discover {report.connector} --accept {slug}" for slug in report.stopped
        ]
        metadata["next_command"] = "; ".join(commands[:MAX_FOUND])
    return metadata


def balance_sheet(result: RunResult) -> dg.MarkdownMetadataValue:
    """The ledger as a table: what came in, where it ended."""
    ledger = result.ledger
    counts = ledger.as_dict()
    ends = ["inserted", "updated", "unchanged", "superseded", "quarantined"]
    accounted = f"{ledger.accounted} {'✓' if ledger.balances else '✗'}"
    rows: list[tuple[str, str | int]] = [
        ("fetched", ledger.fetched),
        *((name, counts[name]) for name in ends),
        ("accounted for", accounted),
    ]
    return markdown_table(
        ("", "records"), rows, f"rows deleted: {ledger.deleted}, live rows now: {result.row_count}"
    )


def reject_table(result: RunResult) -> dg.MetadataValue:
    """The first quarantined records of a run as a table."""
    records = [
        dg.TableRecord(
            {
                name: "" if sample[name] is None else sample[name]
                for name in ("page", "key", "column", "reason")
            }
        )
        for sample in result.quarantine_sample
    ]
    return dg.MetadataValue.table(records, _REJECT_SCHEMA)
