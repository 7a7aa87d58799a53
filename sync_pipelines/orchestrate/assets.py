"""One asset, and one op, per entity: materializing it is one sync."""

import logging
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from uuid import UUID

import dagster as dg

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.dues import lease_reason, release_lease
from sync_pipelines.catalog.table_overview import (
    TableOverview,
    accept_command,
    list_table_overviews,
)
from sync_pipelines.errors import EntityBusyError, RetriableError, SyncError
from sync_pipelines.model.due import Kind
from sync_pipelines.model.entity import Entity, EntityStatus
from sync_pipelines.model.names import asset_name_for
from sync_pipelines.model.run import RunResult, RunStatus
from sync_pipelines.model.verdict import freshens
from sync_pipelines.orchestrate.cancellation import cancelled
from sync_pipelines.orchestrate.checks import (
    CHECKS,
    check_results,
    check_specs,
    kept_results,
    rejected_severity,
    results_without_run,
)
from sync_pipelines.orchestrate.failures import StepFailure, StepRetry, failure_of
from sync_pipelines.orchestrate.freshness import freshness_policy
from sync_pipelines.orchestrate.markdown import markdown_code, markdown_paragraphs
from sync_pipelines.orchestrate.metadata import (
    MAX_SCHEMAS,
    definition_metadata,
    full_table_name,
    overview_metadata,
    run_metadata,
    storage_kinds,
)
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.orchestrate.snapshot import CatalogView
from sync_pipelines.secrets import redact

logger = logging.getLogger(__name__)

CONNECTOR_TAG = "sync_pipelines/connector"
FULL_REFRESH_TAG = "sync_pipelines/full_refresh"  # for people
LEASE_TAG = "sync_pipelines/lease"
KIND_TAG = "sync_pipelines/kind"  # of a run that is no regular one
MAX_RETRIES = 2
_RETRIES = dg.RetryPolicy(
    max_retries=MAX_RETRIES,
    delay=2,
    backoff=dg.Backoff.EXPONENTIAL,
    jitter=dg.Jitter.PLUS_MINUS,
)
_KIND = "rest"
_importing = threading.Lock()


_ROWS = "rows"
# A busy entity is skipped, and its checks with it.
_OUTS = {
    _ROWS: dg.Out(dg.Nothing, is_required=False),
    **{name: dg.Out(is_required=False) for name in CHECKS},
}
SYNC_CONFIG = {
    "full_refresh": dg.Field(
        bool, default_value=False, description="Read everything, and delete what vanished."
    ),
    "accept_vanished": dg.Field(
        bool,
        default_value=False,
        description="Delete vanished rows even beyond the configured share, and empty columns whose field is gone.",
    ),
}


def asset_key(entity: Entity) -> dg.AssetKey:
    """`[connector, entity]`."""
    return dg.AssetKey([entity.connector, asset_name_for(entity.slug)])


def entity_assets(view: CatalogView, owners: list[str]) -> list[dg.AssetsDefinition]:
    """An asset per entity of the catalog, vanished ones included: their tables are still there."""
    with_schema = len(view.entities) <= MAX_SCHEMAS
    pattern = _pattern({_op_name(entity): entity for entity in view.entities})
    return [
        _entity_asset(entity, view, owners, pattern, with_schema=with_schema)
        for entity in view.entities
    ]


def _op_name(entity: Entity) -> str:
    return f"{entity.connector}__{asset_name_for(entity.slug)}"


def _pattern(entities: dict[str, Entity]) -> dg.OpDefinition:
    """The op that all others share function and configuration with.

    Decorated one by one, 10 000 functions and schemas cost 10 s to look into; this way each op costs 0.3 ms.
    """

    @dg.op(out=_OUTS, config_schema=SYNC_CONFIG, required_resource_keys={"bridge"})
    def sync(context):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - Dagster would resolve annotations
        op = context.op_execution_context
        yield from _materialize(
            context,
            entities[op.op_def.name],
            op.op_config,
            op.resources.bridge,
        )

    return sync


def _entity_asset(
    entity: Entity,
    view: CatalogView,
    owners: list[str],
    pattern: dg.OpDefinition,
    *,
    with_schema: bool,
) -> dg.AssetsDefinition:
    key = asset_key(entity)
    spec = dg.AssetSpec(
        key=key,
        skippable=True,
        group_name=entity.connector,
        description=_description(entity),
        kinds={_KIND, *storage_kinds(entity, view)},
        owners=view.owners.get(entity.connector, owners),
        code_version=entity.code_version,
        freshness_policy=freshness_policy(entity),
        tags={
            CONNECTOR_TAG: entity.connector,
            "sync_pipelines/strategy": str(entity.delta_strategy),
            "sync_pipelines/status": str(entity.status),
        },
        metadata=definition_metadata(
            entity,
            full_table_name(entity, view),
            view.base_urls.get(entity.connector),
            path=view.paths.get(entity.path),
            with_schema=with_schema,
            stale_because=view.stale_because,
        ),
    )
    op = dg.OpDefinition(
        name=_op_name(entity),
        compute_fn=pattern.compute_fn,
        outs=_OUTS,
        config_schema=pattern.config_schema,
        required_resource_keys=pattern.required_resource_keys,
        retry_policy=_RETRIES,
        pool=f"source_{entity.connector}",
        tags={CONNECTOR_TAG: entity.connector},
    )
    return dg.AssetsDefinition(
        node_def=op,
        keys_by_output_name={_ROWS: key},
        check_specs_by_output_name={check.name: check for check in check_specs(key)},
        specs=[spec],
    )


def _description(entity: Entity) -> str:
    """What a person must know first, and then what the source says."""
    stopped = ""
    if entity.status is EntityStatus.ACTION_REQUIRED:
        stopped = (
            f"Stopped: {entity.status_reason} Next: {accept_command(entity.connector, entity.slug)}"
        )
    elif entity.status is not EntityStatus.ACTIVE:
        reason = entity.status_reason or "the source does not offer it any more."
        stopped = f"{str(entity.status).capitalize()}: {reason}"
    elif not entity.policy.sync_enabled:
        stopped = f"Switched off: nothing syncs it by itself. Next: sync-pipelines entity set {entity.path} --enable"
    return markdown_paragraphs(stopped, entity.api_name, entity.description or "")


def _materialize(
    context: dg.AssetExecutionContext,
    entity: Entity,
    config: dict[str, bool],
    bridge: Bridge,
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult | dg.AssetObservation]:
    key = asset_key(entity)
    tagged = _reads_all(context.run.tags)
    lease = _lease(context)
    try:
        database = bridge.database()
        reason = lease_reason(database, lease, entity.slug) if lease else None
        result = _sync_entity()(
            database,
            entity.connector,
            entity.slug,
            full_refresh=config["full_refresh"] or tagged,
            accept_vanished=config["accept_vanished"],
            triggered_by=f"{reason}, dagster run {context.run.run_id}"
            if reason
            else f"dagster run {context.run.run_id}",
            settings=bridge.settings(),
            interrupted=cancelled,
            lease=lease,
            will_try_again=context.retry_number < MAX_RETRIES,
        )
    except EntityBusyError as error:
        # Somebody else is doing just this: no failure, and nothing to try again.
        context.log.warning("skipped: %s", error)
        yield dg.AssetObservation(key, metadata={"skipped": redact(str(error))})
        if lease:
            release_lease(database, lease, entity.slug)
        return
    except SyncError as error:
        failure = failure_of(error)
        passes = isinstance(error, RetriableError)
        yield from _failed_attempt(context, entity, bridge, failure, passes=passes)
    except Exception as error:  # noqa: BLE001 - shown as a failure of this entity, whatever it is
        # The chain of causes may quote a connection or a token, so only its redacted text is kept.
        trace = "".join(traceback.format_exception(error))
        failure = StepFailure(
            f"{type(error).__name__}: {error}",
            {"traceback": markdown_code(trace)},
        )
        yield from _failed_attempt(context, entity, bridge, failure, passes=True)
    else:
        yield from _finished(context, entity, result, bridge)


def _finished(
    context: dg.AssetExecutionContext,
    entity: Entity,
    result: RunResult,
    bridge: Bridge,
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult | dg.AssetObservation]:
    """Report a run that published.

    The step fails where the run is no success and nobody made that a warning.
    """
    key = asset_key(entity)
    overview = _overview(entity, bridge)
    severity = _severity(entity, bridge)
    if overview is None:
        # The connector was switched off, or the catalog went away: what was published stays so.
        overview = TableOverview(
            entity.connector,
            entity.slug,
            open_quarantine=result.ledger.quarantined,
            published_uid=result.uid,
            published_status=result.status,
        )
    context.log.info(
        "%s %s %s: %s",
        entity.path,
        result.mode,
        result.status,
        result.ledger.as_dict(),
    )
    table_metadata = overview_metadata(overview)
    # The page of an asset would show the status of its newest materialization, where the definition's is newer.
    del table_metadata["status"]
    metadata = {**table_metadata, **run_metadata(entity, result)}
    checks = check_results(key, entity, result, overview, severity)
    if freshens(result.status, result.ledger):
        version = dg.DataVersion(result.rowversion_end) if result.rowversion_end else None
        yield dg.MaterializeResult(
            asset_key=key,
            metadata=metadata,
            check_results=checks,
            data_version=version,
        )
    else:
        # Nothing good came, so the table is not fresher than it was.
        yield dg.AssetObservation(key, metadata=metadata)
        yield from checks
    command = {"next_command": result.next_command} if result.next_command else {}
    if result.status is not RunStatus.SUCCESS:
        if severity is dg.AssetCheckSeverity.ERROR:
            raise StepFailure(
                f"{result.status}: {result.status_reason} Next: {result.next_command}",
                {"error": result.status.title(), **command},
            ) from None
        context.log.warning(
            "%s is %s: %s Next: %s",
            entity.path,
            result.status,
            result.status_reason,
            result.next_command,
        )
    elif result.duplicate_keys:
        raise StepFailure(
            f"{result.duplicate_keys} business keys are in two rows of {result.table}.",
            {"error": "DuplicateKeys"},
        ) from None


def _failed_attempt(
    context: dg.AssetExecutionContext,
    entity: Entity,
    bridge: Bridge,
    failure: StepFailure,
    *,
    passes: bool,
) -> Iterator[dg.AssetCheckResult | dg.AssetObservation]:
    """Try again what may pass; at last report the table, which is as before, and fail."""
    if passes and context.retry_number < MAX_RETRIES:
        raise StepRetry(failure, MAX_RETRIES, _RETRIES.calculate_delay(context.retry_number + 1))
    key = asset_key(entity)
    overview = _overview(entity, bridge)
    if overview is not None:
        severity = _severity(entity, bridge)
        yield dg.AssetObservation(key, metadata=overview_metadata(overview))
        yield from results_without_run(key, overview, severity)
        yield from kept_results(key, overview)
    raise failure from None


def _overview(entity: Entity, bridge: Bridge) -> TableOverview | None:
    """How the table is now; None while the catalog cannot be asked, and for a connector that is switched off."""
    try:
        found = list_table_overviews(bridge.database(), entity.connector, entity.slug)
    except SyncError as error:
        logger.warning("the overview of %s is not known: %s", entity.path, error)
        return None
    return found[0] if found else None


def _severity(entity: Entity, bridge: Bridge) -> dg.AssetCheckSeverity:
    """How severe a rejected read is; as the process has it where the connector cannot be asked."""
    try:
        own = get_connector(bridge.database(), entity.connector).settings
    except SyncError as error:
        logger.warning("the settings of %s are not known: %s", entity.connector, error)
        own = {}
    return rejected_severity(own, bridge.settings())


def _sync_entity() -> Callable[..., RunResult]:
    """Imported by the first step of a run: 2 s and 160 MB that web server, daemon and code server need not pay.

    Under a lock: two threads that import modules which import each other may see half of one.
    """
    with _importing:
        # Deferred: a process that only loads definitions need not wait for dlt.
        from sync_pipelines.runs.sync import sync_entity
    return sync_entity


def _reads_all(tags: Mapping[str, str]) -> bool:
    """Whether a run is a full read, because a person or a schedule wanted one."""
    wanted = tags.get(FULL_REFRESH_TAG, "")
    return wanted.lower() in ("true", "1", "yes") or tags.get(KIND_TAG) == Kind.FULL_READ


def _lease(context: dg.AssetExecutionContext) -> UUID | None:
    """The lease of a run that a sensor or schedule started; a tag that a person typed is none."""
    try:
        return UUID(context.run.tags[LEASE_TAG])
    except (KeyError, ValueError):
        return None
