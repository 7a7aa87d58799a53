"""One asset, and one op, per entity: materializing it is one sync."""

import traceback
from collections.abc import Iterator

import dagster as dg

from sync_pipelines.catalog.snapshot import CatalogView
from sync_pipelines.errors import RetriableError, SchemaDriftError, SyncError
from sync_pipelines.model.entity import Entity, EntityStatus
from sync_pipelines.model.names import asset_name_for
from sync_pipelines.orchestrate.cancellation import cancelled
from sync_pipelines.orchestrate.checks import check_results, check_specs, drift_failure
from sync_pipelines.orchestrate.metadata import (
    MAX_SCHEMAS,
    definition_metadata,
    full_table_name,
    run_metadata,
    storage_kinds,
)
from sync_pipelines.orchestrate.resources import Bridge
from sync_pipelines.secrets import redact
from sync_pipelines.sync import sync_entity

FULL_REFRESH_TAG = "sync_pipelines/full_refresh"
_RETRIES = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
_KIND = "rest"


class SyncConfig(dg.Config):
    """How to sync in this run."""

    full_refresh: bool = False
    accept_vanished: bool = False


def asset_key(entity: Entity) -> dg.AssetKey:
    """`[connector, entity]`."""
    return dg.AssetKey([entity.connector, asset_name_for(entity.slug)])


def entity_assets(view: CatalogView, owners: list[str]) -> list[dg.AssetsDefinition]:
    """An asset per entity of the catalog, vanished ones included: their tables are still there."""
    with_schema = len(view.entities) <= MAX_SCHEMAS
    return [_entity_asset(entity, view, owners, with_schema=with_schema) for entity in view.entities]


def _entity_asset(entity: Entity, view: CatalogView, owners: list[str], *, with_schema: bool) -> dg.AssetsDefinition:
    key = asset_key(entity)
    spec = dg.AssetSpec(
        key=key,
        group_name=entity.connector,
        description=_description(entity),
        kinds={_KIND, *storage_kinds(entity, view)},
        owners=owners,
        code_version=entity.code_version,
        tags={
            "sync_pipelines/connector": entity.connector,
            "sync_pipelines/strategy": str(entity.delta_strategy),
            "sync_pipelines/status": str(entity.status),
        },
        metadata=definition_metadata(
            entity,
            full_table_name(entity, view),
            (view.base_urls or {}).get(entity.connector),
            with_schema=with_schema,
            stale_because=view.stale_because,
        ),
    )

    @dg.multi_asset(
        name=f"{entity.connector}__{asset_name_for(entity.slug)}",
        specs=[spec],
        check_specs=check_specs(key),
        pool=f"source_{entity.connector}",
        retry_policy=_RETRIES,
        op_tags={"sync_pipelines/connector": entity.connector},
    )
    def sync(
        context: dg.AssetExecutionContext, config: SyncConfig, bridge: Bridge
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        yield from _materialize(context, entity, config, bridge)

    return sync


def _description(entity: Entity) -> str:
    lines = [f"**{entity.api_name}**", entity.description]
    if entity.status is not EntityStatus.ACTIVE:
        lines.append(f"**{str(entity.status).replace('_', ' ')}**: {entity.status_reason}")
    return "\n\n".join(line for line in lines if line)


def _materialize(
    context: dg.AssetExecutionContext, entity: Entity, config: SyncConfig, bridge: Bridge
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    key = asset_key(entity)
    tagged = context.run.tags.get(FULL_REFRESH_TAG, "").lower() in ("true", "1", "yes")
    try:
        database = bridge.database()
        result = sync_entity(
            database,
            entity.connector,
            entity.slug,
            full_refresh=config.full_refresh or tagged,
            accept_vanished=config.accept_vanished,
            triggered_by=f"dagster run {context.run_id}",
            settings=bridge.settings(),
            interrupted=cancelled,
        )
    except SchemaDriftError as error:
        yield drift_failure(key, str(error))
        raise _failure(error) from None
    except SyncError as error:
        raise _failure(error) from None
    except Exception as error:  # noqa: BLE001 - shown as a failure of this entity, whatever it is
        # The chain of causes may quote a connection or a token, so only its redacted text is kept.
        text = redact("".join(traceback.format_exception(error)))
        raise dg.Failure(redact(f"{type(error).__name__}: {error}"), {"traceback": dg.MetadataValue.md(f"```\n{text}\n```")}) from None
    context.log.info("%s %s: %s", entity.path, result.mode, result.ledger.as_dict())
    data_version = dg.DataVersion(result.rowversion_end) if result.rowversion_end else None
    yield dg.MaterializeResult(
        asset_key=key,
        metadata=run_metadata(entity, result),
        check_results=check_results(key, entity, result),
        data_version=data_version,
    )


def _failure(error: SyncError) -> dg.Failure:
    """A step failure that says what to do next; only what may pass is tried again."""
    details = {name: str(value) for name, value in error.where.items()}
    return dg.Failure(
        description=redact(str(error)),
        metadata={
            "error": type(error).__name__,
            **{f"where_{name}": value for name, value in details.items()},
            **({"next_command": error.next_command} if error.next_command else {}),
        },
        allow_retries=isinstance(error, RetriableError),
    )
