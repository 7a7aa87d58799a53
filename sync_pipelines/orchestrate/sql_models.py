"""SQL models as assets: a blocking check of an entity holds back just the models that read it."""

import logging
from pathlib import Path

import dagster as dg

from sync_pipelines.downstream.build import build_model
from sync_pipelines.downstream.sql_model import SqlModel, load_models
from sync_pipelines.errors import SyncError
from sync_pipelines.model.entity import Entity
from sync_pipelines.orchestrate.assets import asset_key
from sync_pipelines.orchestrate.failures import failure_of
from sync_pipelines.orchestrate.markdown import markdown_code, markdown_paragraphs
from sync_pipelines.orchestrate.resources import Bridge

logger = logging.getLogger(__name__)

Table = tuple[str, str]
"""Schema and name."""

MODEL_STEP = "__model"
"""End of the name of a step that builds a model."""


def model_assets(entities: tuple[Entity, ...], folder: Path) -> list[dg.AssetsDefinition]:
    """An asset per model whose tables are all known; the others are left out with a warning."""
    models, errors = load_models(folder)
    for error in errors:
        logger.warning("%s", error)
    known: dict[Table, dg.AssetKey] = {}
    for entity in entities:
        if entity.destination == "postgres":
            known[entity.target_schema, entity.target_table] = asset_key(entity)
    schemas = {entity.target_schema for entity in entities}
    assets, waiting = _in_order(models, known)
    for model in waiting:
        missing = [".".join(table) for table in model.reads if table not in known]
        # A model of a connector that is not registered is no mistake: the demo's models are in this folder, too.
        is_ours = any(schema in schemas for schema, _ in model.reads)
        level = logging.WARNING if is_ours else logging.DEBUG
        logger.log(
            level,
            "%s/%s.sql is left out: nothing in PostgreSQL provides %s",
            model.schema,
            model.name,
            ", ".join(missing),
        )
    return assets


def _in_order(
    models: list[SqlModel],
    known: dict[Table, dg.AssetKey],
) -> tuple[list[dg.AssetsDefinition], list[SqlModel]]:
    """Assets of the models whose tables are known, after those that they read; and the models that are left."""
    assets: list[dg.AssetsDefinition] = []
    waiting = models
    while ready := [model for model in waiting if known.keys() >= set(model.reads)]:
        for model in ready:
            upstream = [known[table] for table in model.reads]
            assets.append(_model_asset(model, upstream))
        for model in ready:
            known[model.schema, model.name] = _model_key(model)
        waiting = [model for model in waiting if model not in ready]
    return assets, waiting


def _model_key(model: SqlModel) -> dg.AssetKey:
    return dg.AssetKey([model.schema, model.name])


def _model_asset(model: SqlModel, upstream: list[dg.AssetKey]) -> dg.AssetsDefinition:
    key = _model_key(model)
    spec = dg.AssetSpec(
        key=key,
        deps=upstream,
        group_name=model.schema,
        description=markdown_paragraphs(model.description),
        kinds={"sql", "postgres", model.materialized},
        code_version=model.version,
        metadata={
            "dagster/table_name": f"{model.schema}.{model.name}",
            "file": f"{model.path.parent.parent.name}/{model.schema}/{model.name}.sql",
            "query": markdown_code(model.query, "sql"),
        },
    )
    names = [name for name in ("unique", "not_null") if getattr(model, name)]

    @dg.multi_asset(
        name=f"{model.schema}__{model.name}{MODEL_STEP}",
        specs=[spec],
        check_specs=[dg.AssetCheckSpec(name, asset=key, blocking=True) for name in names],
    )
    def build(
        context: dg.AssetExecutionContext,
        bridge: Bridge,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster compares with the bare class

        try:
            built = build_model(bridge.database(), model)
        except SyncError as error:
            error.what = f"The SQL model {model.schema}/{model.name} was not built: {error.what}"
            raise failure_of(error) from None
        checks = [_check_result(key, name, count) for name, count in built.broken.items()]
        rows = {"dagster/row_count": built.row_count}
        return dg.MaterializeResult(
            asset_key=key,
            metadata=rows,
            check_results=checks,
        )

    return build


def _check_result(
    key: dg.AssetKey,
    name: str,
    broken_rows: int,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=broken_rows == 0,
        metadata={"broken_rows": broken_rows},
    )
