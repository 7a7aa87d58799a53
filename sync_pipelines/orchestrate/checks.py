"""The four asset checks of an entity, evaluated with each sync."""

from __future__ import annotations

from typing import Any

import dagster as dg

from sync_pipelines.model.entity import Entity
from sync_pipelines.model.run import RunResult
from sync_pipelines.orchestrate.markdown import markdown_list
from sync_pipelines.orchestrate.metadata import balance_sheet, gate_counts, reject_table

CHECKS = {
    "contract": "Every record has the declared types, lengths and nulls, and passes the rules of its gate; those that do not are in quarantine. "
    "An error, which holds back models downstream, above a share of ALERT_REJECTION_RATE.",
    "balance": "fetched = inserted + updated + unchanged + superseded + quarantined, counted twice at every stage.",
    "no_duplicate_keys": "No business key stands twice in the table.",
    "schema_drift": "The records carry no field that the API does not declare, and the table follows the declaration.",
}


def check_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The specifications of an asset's checks."""
    return [
        dg.AssetCheckSpec(name, asset=key, description=description, blocking=name != "schema_drift")
        for name, description in CHECKS.items()
    ]


def check_results(
    key: dg.AssetKey, entity: Entity, result: RunResult, max_rejected_share: float
) -> list[dg.AssetCheckResult]:
    """What a finished run says about each check; more than `max_rejected_share` of rejects is an error."""
    return [
        _contract(key, result, max_rejected_share),
        _result(
            key,
            "balance",
            result.ledger.balances,
            dg.AssetCheckSeverity.ERROR,
            {**result.ledger.as_dict(), "accounted_for": result.ledger.accounted, "sheet": balance_sheet(result)},
        ),
        _result(
            key,
            "no_duplicate_keys",
            result.duplicate_keys == 0,
            dg.AssetCheckSeverity.ERROR,
            {"duplicate_keys": result.duplicate_keys},
        ),
        _drift(key, entity, result),
    ]


def _contract(key: dg.AssetKey, result: RunResult, max_rejected_share: float) -> dg.AssetCheckResult:
    quarantined, fetched = result.ledger.quarantined, result.ledger.fetched
    share = result.ledger.rejected_share
    severity = dg.AssetCheckSeverity.ERROR if share > max_rejected_share else dg.AssetCheckSeverity.WARN
    metadata: dict[str, Any] = {"records_fetched": fetched, "records_quarantined": quarantined, "rejected_share": share, "allowed_share": max_rejected_share}
    metadata |= gate_counts(result)
    if result.gate.get("reviewed"):
        metadata["review_command"] = f"sync-pipelines review list {result.connector}/{result.slug}"
    if result.quarantine_sample:
        metadata["failure_cases"] = reject_table(result)
        metadata["next_command"] = f"sync-pipelines quarantine list {result.connector}/{result.slug} --run {result.uid}"
    return _result(key, "contract", quarantined == 0, severity, metadata)


def _drift(key: dg.AssetKey, entity: Entity, result: RunResult) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {"declared_columns": len(entity.columns), "undeclared_fields": len(result.undeclared)}
    if result.undeclared:
        metadata["undeclared"] = ", ".join(result.undeclared)[:2000]
        metadata["next_command"] = f"sync-pipelines discover {result.connector}"
    if result.table_changes:
        metadata["table_changes"] = markdown_list(result.table_changes)
    return _result(key, "schema_drift", not result.undeclared, dg.AssetCheckSeverity.WARN, metadata)


def drift_failure(key: dg.AssetKey, plan: str) -> dg.AssetCheckResult:
    """The drift check of an entity that was stopped, with the plan."""
    return _result(key, "schema_drift", False, dg.AssetCheckSeverity.ERROR, {"plan": plan})


def _result(
    key: dg.AssetKey, name: str, passed: bool, severity: dg.AssetCheckSeverity, metadata: dict[str, Any]
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(asset_key=key, check_name=name, passed=passed, severity=severity, metadata=metadata)
