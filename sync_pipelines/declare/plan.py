"""What applying a connector file would change, and the change itself."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

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

_TOLD_KEYS = (
    "description", "auth", "limits", "openapi", "kind", "source", "arguments", "trino", "destination_options", "owners",
)  # fmt: skip


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
        return not (
            self.is_new
            or self.changes
            or self.added
            or self.changed
            or self.breaking
            or self.removed
        )


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
    if not source_kind(stored).is_declared:
        raise SettingsError(
            f"{declaration.name} is {source_kind(stored).title} already.",
            state="Nothing was changed.",
            next_command=f"sync-pipelines connector remove {declaration.name}, or another name",
        )
    return stored


def _check_id_tables(declaration: Declaration, bridge_schema: str) -> None:
    """Refuse ids out of the catalog's own tables."""
    for slug, endpoint in declaration.endpoints.items():
        table = endpoint.ids.table if endpoint.ids is not None else None
        if table is not None and table.startswith(f"{bridge_schema}."):
            raise SettingsError(
                f"{slug}: the ids would be read from the catalog, {table}, and sent to the source.",
                state="Nothing was stored.",
            )


def _compare_all(plan: ConnectorPlan, stored: list[Entity]) -> None:
    """Say of every entity of the plan and of the catalog what becomes of it."""
    known = {entity.slug: entity for entity in stored}
    for slug, entity in plan.entities.items():
        if slug in known:
            _compare(plan, known[slug], entity)
        else:
            plan.added.append(slug)
    gone = known.keys() - plan.entities.keys()
    plan.removed = [
        slug for slug, entity in known.items() if slug in gone and entity.status != "vanished"
    ]


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

    So a person has to agree first to what `declare.usage` tells.

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
        resolved = source_kind_named(declaration.kind).resolve(declaration, session)
        declaration, inferred, problems = _resolve_columns(
            resolved.declaration, approved, session, settings
        )
    plan = ConnectorPlan(
        declaration, stored is None, inferred=inferred, invalid=resolved.skipped | problems
    )
    descriptions = [one for one in describe_declaration(declaration) if one["slug"] not in problems]
    plan.entities, errors = parse_apis(descriptions, as_connector(declaration), settings)
    plan.invalid |= {slug: error.what for slug, error in errors.items()}
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
        problems = "; ".join(f"{slug}: {why}" for slug, why in plan.invalid.items())
        raise SettingsError(
            f"The connector has no usable endpoint. {problems}", state="Nothing was stored."
        )
    declaration = plan.declaration
    # What cannot be an entity is not stored either, so that nothing half-known is read later.
    usable = {
        slug: endpoint for slug, endpoint in declaration.endpoints.items() if slug in plan.entities
    }
    declaration = declaration.model_copy(update={"endpoints": usable})
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
    """The connector that a declaration stands for."""
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
    outbound = outbound or of_connector(connector, settings)
    return new_session(
        connector.base_url, auth_key(connector), connector_limits(connector, settings), outbound
    )


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
    if endpoint.fields is not None:
        chosen = select_fields(chosen)
    given = endpoint.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return Endpoint.model_validate(
        {**given, "columns": [_plain(one) for one in chosen.columns or []]}
    )


def _resolve_columns(
    declaration: Declaration,
    before: Declaration | None,
    session: GuardedSession,
    settings: Settings,
) -> tuple[Declaration, list[str], dict[str, str]]:
    """Columns for the endpoints that declare none: those approved before, or from a sample."""
    kind = source_kind_named(declaration.kind)
    endpoints = dict(declaration.endpoints)
    inferred: list[str] = []
    problems: dict[str, str] = {}
    approved_endpoints = before.endpoints if before else {}
    for slug, endpoint in declaration.endpoints.items():
        try:
            if endpoint.columns is not None and endpoint.fields is not None:
                endpoints[slug] = select_fields(endpoint)
            elif endpoint.columns is None:
                columns = _approved_columns(endpoint, approved_endpoints.get(slug))
                if columns is None:
                    sample = kind.sample(declaration, slug, session, settings)
                    columns = infer_columns(endpoint, sample, settings.runs.max_record_bytes)
                    inferred.append(slug)
                endpoints[slug] = _with_columns(endpoint, columns)
            check_endpoint(slug, endpoints[slug])
        except SyncError as error:
            if (
                not isinstance(error, SettingsError)
                and endpoint.columns is None
                and slug not in inferred
            ):
                raise error.at(connector=declaration.name, entity=slug) from error
            problems[slug] = error.what
    return declaration.model_copy(update={"endpoints": endpoints}), inferred, problems


def select_fields(endpoint: Endpoint) -> Endpoint:
    """Only the chosen columns, beside key and cursor.

    Raises:
        SettingsError: a chosen field that no column comes from.
    """
    columns, chosen = endpoint.columns or [], set(endpoint.fields or ())
    sources = {name: ".".join(path) for name, path in source_paths(endpoint).items()}
    unknown = chosen - {column.name for column in columns} - set(sources.values())
    if unknown:
        raise SettingsError(
            f"There is no field {printable(sorted(unknown)[0])!r}; known:"
            f" {', '.join(sources.get(c.name, c.name) for c in columns)}."
        )
    apart = {*endpoint.key, endpoint.cursor.field if endpoint.cursor else None, id_column(endpoint)}
    kept = [
        c
        for c in columns
        if c.key or c.name in apart or c.name in chosen or sources.get(c.name) in chosen
    ]
    return endpoint.model_copy(update={"columns": kept})


def _plain(column: Any) -> dict[str, Any]:
    plain: dict[str, Any] = column.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return plain


def _shape(endpoint: Endpoint) -> tuple[Any, ...]:
    asked = (endpoint.path, endpoint.query, endpoint.variables, endpoint.resource)
    return (
        *asked,
        endpoint.records,
        endpoint.mapping,
        endpoint.flatten,
        endpoint.key,
        endpoint.fields,
    )


def _diff_declarations(before: Declaration, after: Declaration) -> list[str]:
    old, new = before.as_json(), after.as_json()
    told = [f"{name} changes" for name in _TOLD_KEYS if old.get(name) != new.get(name)]
    if old.get("destination") != new.get("destination"):
        told.append(
            f"destination of new entities changes to {new.get('destination') or 'what it was'}"
        )
    if old.get("base_url") != new.get("base_url"):
        told.append(
            f"base_url changes from {printable(before.base_url)} to {printable(after.base_url)}"
        )
    for slug in before.endpoints.keys() & after.endpoints.keys():
        one, other = old["endpoints"][slug], new["endpoints"][slug]
        parts = sorted(
            name for name in one.keys() | other.keys() if one.get(name) != other.get(name)
        )
        if parts:
            told.append(
                f"endpoint {slug}: {', '.join(parts)} change{'s' if len(parts) == 1 else ''}"
            )
    return sorted(told)
