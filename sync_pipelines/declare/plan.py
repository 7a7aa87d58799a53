"""What applying a connector file would change, and the change itself."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pydantic import BaseModel

from sync_pipelines.catalog.connectors import check_base_url, get_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import list_entities
from sync_pipelines.declare.register import register_connector
from sync_pipelines.discovery.discover import discover
from sync_pipelines.discovery.drift import Verdict, diff_entity
from sync_pipelines.discovery.report import DiscoveryReport
from sync_pipelines.errors import NotFoundError, SettingsError, SyncError
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.endpoint import ColumnDeclaration, Endpoint
from sync_pipelines.model.entity import Connector, Entity
from sync_pipelines.model.names import check_connector_name
from sync_pipelines.network.outbound import Outbound, of_connector
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings
from sync_pipelines.sources.declared.describe import check_endpoint, describe_declaration
from sync_pipelines.sources.declared.infer import infer_columns
from sync_pipelines.sources.declared.paths import id_column, source_paths
from sync_pipelines.sources.descriptions import parse_apis
from sync_pipelines.sources.http.connector_session import auth_key, connector_limits, new_session
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.registry import source_kind, source_kind_named

# Keys whose change is shown by name alone.
_NAMED_KEYS = (
    "description",
    "auth",
    "limits",
    "openapi",
    "kind",
    "source",
    "arguments",
    "trino",
    "destination_options",
    "owners",
)


@dataclass
class ConnectorPlan:
    """The difference between a connector file and the catalog.

    Attributes:
        declaration: the file with everything resolved: inferred columns, an OpenAPI document's endpoints.
        is_new: there is no connector of that name.
        changes: what of the connector itself is other than before, in words.
        added, changed, unchanged, removed: slugs of entities; words for `changed`.
        invalid: what cannot become an entity, with the reason.
        inferred: slugs whose columns come from a sample.
        entities: as they would be.
    """

    declaration: Declaration
    is_new: bool
    changes: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    breaking: dict[str, str] = field(default_factory=dict)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    invalid: dict[str, str] = field(default_factory=dict)
    inferred: list[str] = field(default_factory=list)
    entities: dict[str, Entity] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Applying it would change nothing."""
        differences = (self.changes, self.added, self.changed, self.breaking, self.removed)
        return not self.is_new and not any(differences)


def _stored(database: Database, declaration: Declaration) -> Connector | None:
    """The connector of that name, None where it is new; refuse one that has another schema or is not declared."""
    try:
        stored = get_connector(database, declaration.name)
    except NotFoundError:
        return None
    if declaration.target_schema not in (None, stored.target_schema):
        raise SettingsError(
            f"{declaration.name} writes to the schema {stored.target_schema!r};"
            f" a move to {declaration.target_schema!r} needs a new connector.",
            state="Nothing was changed.",
        )
    kind = source_kind(stored)
    if not kind.is_declared:
        raise SettingsError(
            f"{declaration.name} is {kind.title} already.",
            state="Nothing was changed.",
            next_command=f"sync-pipelines connector remove {declaration.name}, or another name",
        )
    return stored


def _check_id_tables(declaration: Declaration, bridge_schema: str) -> None:
    """Refuse ids out of the catalog's own tables."""
    for slug, endpoint in declaration.endpoints.items():
        table = endpoint.ids.table if endpoint.ids is not None else None
        if table and table.startswith(f"{bridge_schema}."):
            raise SettingsError(
                f"{slug}: the ids would be read from the catalog, {table}, and sent to the source.",
                state="Nothing was stored.",
            )


def _compare_all(plan: ConnectorPlan, stored: list[Entity]) -> None:
    """Put every entity of the plan and of the catalog into its part of the plan."""
    known = {entity.slug: entity for entity in stored}
    for slug, entity in plan.entities.items():
        if slug in known:
            _compare(plan, known[slug], entity)
        else:
            plan.added.append(slug)
    for slug, entity in known.items():
        if slug not in plan.entities and entity.status != "vanished":
            plan.removed.append(slug)


def _compare(plan: ConnectorPlan, known: Entity, entity: Entity) -> None:
    """Put an entity that the catalog knows into the part of the plan where it belongs."""
    slug = entity.slug
    drift = diff_entity(known, entity)
    if known.status == "vanished" and drift.verdict is not Verdict.DECIDE:
        plan.changed[slug] = "it comes back"
    elif drift.verdict is Verdict.SAME:
        plan.unchanged.append(slug)
    elif drift.verdict is Verdict.DECIDE:
        plan.breaking[slug] = drift.plan
    else:
        plan.changed[slug] = drift.plan


def plan_connector(
    database: Database,
    declaration: Declaration,
    settings: Settings,
    *,
    infer_again: bool = False,
    outbound: Outbound | None = None,
) -> ConnectorPlan:
    """Compare a declaration with the catalog; the source is asked where columns or endpoints are left to it.

    So a person has to agree first to what `declare.usage` lists.

    Args:
        database: where the catalog is.
        declaration: from the file.
        settings: of the process.
        infer_again: take a new sample although columns were approved before.
        outbound: what was agreed; None = what the declaration names itself.

    Raises:
        SyncError: the declaration cannot be used, or the source that is needed for it does not answer.
    """
    check_connector_name(declaration.name)
    check_base_url(declaration.base_url)
    stored = _stored(database, declaration)
    _check_id_tables(declaration, database.bridge_schema)
    before = Declaration.model_validate(stored.declaration) if stored is not None else None
    approved = None if infer_again else before
    with contextlib.closing(_session(declaration, settings, outbound)) as session:
        kind = source_kind_named(declaration.kind)
        resolved = kind.resolve(declaration, session)
        columns = _resolve_columns(resolved.declaration, approved, session, settings)
    declaration = columns.declaration
    plan = ConnectorPlan(declaration, is_new=stored is None, inferred=columns.inferred)
    plan.invalid = resolved.skipped | columns.problems
    described = describe_declaration(declaration)
    usable = [one for one in described if one["slug"] not in columns.problems]
    plan.entities, errors = parse_apis(usable, as_connector(declaration), settings)
    for slug, error in errors.items():
        plan.invalid[slug] = error.what
    if stored is None or before is None:
        plan.added = list(plan.entities)
        return plan
    plan.changes = _diff_declarations(before, declaration)
    if not stored.is_active:
        plan.changes.append("it is switched on again")
    _compare_all(plan, list_entities(database, declaration.name))
    return plan


def apply_connector(
    database: Database, plan: ConnectorPlan, settings: Settings, *, allow_private: bool = False
) -> DiscoveryReport:
    """Store the declaration and bring the catalog to it; tables of removed entities stay.

    With `allow_private` its addresses need not be public.

    Raises:
        SettingsError: nothing of it can be used.
        SyncError: from the catalog.
    """
    if not plan.entities:
        problems = [f"{slug}: {why}" for slug, why in plan.invalid.items()]
        what = f"The connector has no usable endpoint. {'; '.join(problems)}"
        raise SettingsError(what, state="Nothing was stored.")
    # What cannot be an entity is not stored either, so that nothing half-known is read later.
    usable = {}
    for slug, endpoint in plan.declaration.endpoints.items():
        if slug in plan.entities:
            usable[slug] = endpoint
    declaration = plan.declaration.model_copy(update={"endpoints": usable})
    store_declaration(database, declaration, allow_private=allow_private)
    return discover(database, declaration.name, settings=settings)


def store_declaration(
    database: Database, declaration: Declaration, *, allow_private: bool = False
) -> Connector:
    """Write a declaration as the connector of its name."""
    connector = as_connector(declaration)
    return register_connector(
        database,
        declaration.name,
        declaration.base_url,
        connector.auth_token,
        target_schema=declaration.target_schema,
        settings=connector.settings,
        destination=declaration.destination,
        destination_settings=declaration.reach,
        kind=declaration.kind,
        declaration=declaration.as_json(),
        allow_private=allow_private,
    )


def as_connector(declaration: Declaration) -> Connector:
    """The connector that a declaration becomes."""
    limits = declaration.limits.model_dump(exclude_unset=True) if declaration.limits else {}
    return Connector(
        uid=uuid4(),
        name=declaration.name,
        base_url=check_base_url(declaration.base_url),
        auth_token=declaration.secrets[0] if declaration.secrets else None,
        target_schema=declaration.target_schema or declaration.name,
        settings=limits,
        destination=declaration.destination or "postgres",
        destination_settings=declaration.reach or {},
        kind=declaration.kind,
        declaration=declaration.as_json(),
    )


def _session(
    declaration: Declaration, settings: Settings, outbound: Outbound | None
) -> GuardedSession:
    connector = as_connector(declaration)
    if outbound is None:
        outbound = of_connector(connector, settings)
    auth = auth_key(connector)
    limits = connector_limits(connector, settings)
    return new_session(connector.base_url, auth, limits, outbound)


def _approved_columns(
    endpoint: Endpoint, approved: Endpoint | None
) -> list[ColumnDeclaration] | None:
    """The columns that were approved before for an endpoint of the same shape."""
    if approved is None or _shape(approved) != _shape(endpoint):
        return None
    return approved.columns


def _with_columns(endpoint: Endpoint, columns: list[ColumnDeclaration]) -> Endpoint:
    """The endpoint with columns, which count as given from now on; only its `fields`, where it names some."""
    chosen = endpoint.model_copy(update={"columns": columns})
    chosen = _with_chosen_fields(chosen)
    given = _plain(endpoint)
    given["columns"] = [_plain(column) for column in chosen.columns or []]
    return Endpoint.model_validate(given)


@dataclass
class _ResolvedColumns:
    """A declaration whose endpoints have columns.

    Attributes:
        inferred: slugs whose columns come from a sample.
        problems: by slug, why an endpoint cannot be used.
    """

    declaration: Declaration
    inferred: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


def _resolve_columns(
    declaration: Declaration,
    before: Declaration | None,
    session: GuardedSession,
    settings: Settings,
) -> _ResolvedColumns:
    """Columns for the endpoints that declare none: those approved before, or from a sample."""
    kind = source_kind_named(declaration.kind)
    resolved = _ResolvedColumns(declaration)
    endpoints = dict(declaration.endpoints)
    approved_endpoints = before.endpoints if before else {}
    for slug, endpoint in declaration.endpoints.items():
        has_columns = endpoint.columns is not None
        try:
            if has_columns:
                endpoints[slug] = _with_chosen_fields(endpoint)
            else:
                columns = _approved_columns(endpoint, approved_endpoints.get(slug))
                if columns is None:
                    sample = kind.sample(declaration, slug, session, settings)
                    columns = infer_columns(endpoint, sample, settings.runs.max_record_bytes)
                    resolved.inferred.append(slug)
                endpoints[slug] = _with_columns(endpoint, columns)
            check_endpoint(slug, endpoints[slug])
        except SyncError as error:
            is_known = has_columns or slug in resolved.inferred
            if not is_known and not isinstance(error, SettingsError):
                raise error.at(connector=declaration.name, entity=slug) from error
            resolved.problems[slug] = error.what
    resolved.declaration = declaration.model_copy(update={"endpoints": endpoints})
    return resolved


def _with_chosen_fields(endpoint: Endpoint) -> Endpoint:
    return endpoint if endpoint.fields is None else select_fields(endpoint)


def select_fields(endpoint: Endpoint) -> Endpoint:
    """Only the chosen columns, beside key and cursor.

    Raises:
        SettingsError: a chosen field that no column comes from.
    """
    columns = endpoint.columns or []
    chosen = set(endpoint.fields or ())
    sources = {}
    for name, path in source_paths(endpoint).items():
        sources[name] = ".".join(path)
    names = {column.name for column in columns}
    unknown = sorted(chosen - names - set(sources.values()))
    if unknown:
        known = [sources.get(column.name, column.name) for column in columns]
        raise SettingsError(
            f"There is no field {printable(unknown[0])!r}; known: {', '.join(known)}."
        )
    needed = {*endpoint.key, id_column(endpoint)}
    if endpoint.cursor is not None:
        needed.add(endpoint.cursor.field)
    kept = []
    for column in columns:
        is_chosen = column.name in chosen or sources.get(column.name) in chosen
        if is_chosen or column.key or column.name in needed:
            kept.append(column)
    return endpoint.model_copy(update={"columns": kept})


def _plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _shape(endpoint: Endpoint) -> tuple[Any, ...]:
    return (
        endpoint.path,
        endpoint.query,
        endpoint.variables,
        endpoint.resource,
        endpoint.records,
        endpoint.mapping,
        endpoint.flatten,
        endpoint.key,
        endpoint.fields,
    )


def _diff_declarations(before: Declaration, after: Declaration) -> list[str]:
    old = before.as_json()
    new = after.as_json()
    changed = _changed_keys(old, new)
    changes = [f"{name} changes" for name in _NAMED_KEYS if name in changed]
    if "destination" in changed:
        destination = new.get("destination") or "what it was"
        changes.append(f"destination of new entities changes to {destination}")
    if "base_url" in changed:
        old_url = printable(before.base_url)
        new_url = printable(after.base_url)
        changes.append(f"base_url changes from {old_url} to {new_url}")
    for slug in before.endpoints.keys() & after.endpoints.keys():
        parts = _changed_keys(old["endpoints"][slug], new["endpoints"][slug])
        if parts:
            verb = "changes" if len(parts) == 1 else "change"
            changes.append(f"endpoint {slug}: {', '.join(parts)} {verb}")
    return sorted(changes)


def _changed_keys(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    names = sorted(old.keys() | new.keys())
    return [name for name in names if old.get(name) != new.get(name)]
