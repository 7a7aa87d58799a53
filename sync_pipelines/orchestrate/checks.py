"""The four asset checks of an entity: they judge the table as it is now, with the run's figures beside."""

from __future__ import annotations

from typing import Any

import dagster as dg

from sync_pipelines.catalog.table_overview import TableOverview
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.limits import RunLimits
from sync_pipelines.model.run import RunResult, RunStatus
from sync_pipelines.orchestrate.markdown import markdown_list
from sync_pipelines.orchestrate.metadata import balance_sheet, gate_counts, reject_table
from sync_pipelines.secrets import redact
from sync_pipelines.settings import Settings

CHECKS = {
    "contract": "Every record has the declared types, lengths and nulls, and passes the rules of its gate;"
    " those that do not are in quarantine, and none of them is open there. An error, which holds back models"
    " downstream, while the last read was rejected (REJECTED_SEVERITY).",
    "balance": "fetched = inserted + updated + unchanged + superseded + quarantined, counted twice at every stage.",
    "no_duplicate_keys": "No business key is in two rows of the table.",
    "schema_drift": "No change of the source waits for a decision, the records carry no field that the API does not"
    " declare, and the table follows the declaration.",
}
_NEVER_READ = "Not judged yet: the table was never read."


def check_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The specifications of an asset's checks."""
    return [
        dg.AssetCheckSpec(name, asset=key, description=description, blocking=name != "schema_drift")
        for name, description in CHECKS.items()
    ]


def rejected_severity(
    connector_settings: dict[str, object], settings: Settings
) -> dg.AssetCheckSeverity:
    """How severe a rejected read of a connector is: its own setting, or the process's."""
    limits = RunLimits.from_settings(connector_settings)
    chosen = limits.rejected_severity or settings.alerts.rejected_severity
    return dg.AssetCheckSeverity.ERROR if chosen == "error" else dg.AssetCheckSeverity.WARN


def check_results(
    key: dg.AssetKey,
    entity: Entity,
    result: RunResult,
    overview: TableOverview,
    rejected: dg.AssetCheckSeverity,
) -> list[dg.AssetCheckResult]:
    """The results of all four checks after a finished run.

    Args:
        key, entity: whose checks.
        result: of the run.
        overview: of the table after the run.
        rejected: severity of the contract while the last read was rejected.
    """
    ledger = result.ledger
    counts = {**ledger.as_dict(), "accounted_for": ledger.accounted, "sheet": balance_sheet(result)}
    return [
        _contract(key, overview, rejected, result),
        _result(key, "balance", ledger.balances, dg.AssetCheckSeverity.ERROR, counts),
        _result(
            key,
            "no_duplicate_keys",
            result.duplicate_keys == 0,
            dg.AssetCheckSeverity.ERROR,
            {"duplicate_keys": result.duplicate_keys},
        ),
        _drift(key, overview, entity, result),
    ]


def results_without_run(
    key: dg.AssetKey,
    overview: TableOverview,
    rejected: dg.AssetCheckSeverity,
) -> list[dg.AssetCheckResult]:
    """The checks that the catalog alone can judge, at any time.

    A table that was never read has no contract to judge.
    """
    drift = _drift(key, overview)
    if overview.published_uid is None:
        return [drift]
    return [_contract(key, overview, rejected), drift]


def kept_results(key: dg.AssetKey, overview: TableOverview) -> list[dg.AssetCheckResult]:
    """The checks that only a read can judge, as the last published read judged them.

    Dagster paints every check red that a failed run planned and did not execute. So a table that was never read gets
    results, too: warnings with that reason.
    """
    if overview.published_uid is None:
        return [
            _result(key, name, False, dg.AssetCheckSeverity.WARN, {}, _NEVER_READ)
            for name in ("contract", "balance", "no_duplicate_keys")
        ]
    judged = {"judged_by_sync_run": str(overview.published_uid)}
    duplicates = {"duplicate_keys": overview.duplicate_keys, **judged}
    return [
        # The catalog takes no published run that does not balance.
        _result(key, "balance", True, dg.AssetCheckSeverity.ERROR, judged),
        _result(
            key,
            "no_duplicate_keys",
            not overview.duplicate_keys,
            dg.AssetCheckSeverity.ERROR,
            duplicates,
        ),
    ]


def _contract(
    key: dg.AssetKey,
    overview: TableOverview,
    rejected: dg.AssetCheckSeverity,
    result: RunResult | None = None,
) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {"open_quarantine": overview.open_quarantine}
    if overview.open_since is not None:
        metadata["open_since"] = dg.MetadataValue.timestamp(overview.open_since)
    if overview.open_quarantine:
        metadata["next_command"] = f"sync-pipelines quarantine list {overview.path}"
    if result is not None:
        ledger = result.ledger
        metadata |= {
            "records_fetched": ledger.fetched,
            "records_quarantined": ledger.quarantined,
            "rejected_share": ledger.rejected_share,
        }
        metadata |= gate_counts(result)
        if result.gate.get("reviewed"):
            metadata["review_command"] = f"sync-pipelines review list {overview.path}"
        if result.quarantine_sample:
            metadata["failure_cases"] = reject_table(result)
    # A later run that is a success must not fail by what it did not judge: blocking checks of severity ERROR fail their
    # step.
    severity = dg.AssetCheckSeverity.WARN
    if overview.published_status is RunStatus.REJECTED:
        severity = rejected
    description = "Nothing is in quarantine."
    if overview.open_quarantine:
        description = f"{overview.open_quarantine} records are in quarantine."
    if overview.is_rejecting:
        description += " A read was rejected, and no later one says better."
    return _result(key, "contract", not overview.open_quarantine, severity, metadata, description)


def _drift(
    key: dg.AssetKey,
    overview: TableOverview,
    entity: Entity | None = None,
    result: RunResult | None = None,
) -> dg.AssetCheckResult:
    metadata: dict[str, Any]
    if overview.is_stopped:
        reason, command = overview.trouble or ("It waits for a decision.", "")
        metadata = {"plan": redact(reason), "next_command": command}
        return _result(
            key,
            "schema_drift",
            False,
            dg.AssetCheckSeverity.ERROR,
            metadata,
            "Nothing is synced until somebody decides.",
        )
    undeclared = overview.undeclared if result is None else result.undeclared
    metadata = {"undeclared_fields": len(undeclared)}
    if entity is not None:
        metadata["declared_columns"] = len(entity.columns)
    if undeclared:
        metadata["undeclared"] = ", ".join(undeclared)[:2000]
        metadata["next_command"] = f"sync-pipelines discover {overview.connector}"
    if result is not None and result.table_changes:
        metadata["table_changes"] = markdown_list(result.table_changes)
    return _result(key, "schema_drift", not undeclared, dg.AssetCheckSeverity.WARN, metadata)


def as_evaluation(key: dg.AssetKey, result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """A result for an asset as the event that is reported outside of a run."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=str(result.check_name),
        passed=result.passed,
        metadata=dict(result.metadata),
        severity=result.severity,
        description=result.description,
        blocking=result.check_name != "schema_drift",
    )


def _result(
    key: dg.AssetKey,
    name: str,
    passed: bool,
    severity: dg.AssetCheckSeverity,
    metadata: dict[str, Any],
    description: str | None = None,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=passed,
        severity=severity,
        metadata=metadata,
        description=description,
    )
