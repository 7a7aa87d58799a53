"""API descriptions as a source sends them, into entities; one bad description spoils only its own entity."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sync_pipelines.errors import EntityDefinitionError, SourceContractError, SyncError
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import (
    Column,
    Connector,
    DeltaStrategy,
    Entity,
    Position,
    SyncPolicy,
    check_columns,
)
from sync_pipelines.model.names import (
    asset_name_for,
    check_slug,
    shorten_identifier,
    table_name_for,
)
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings

MAX_APIS = 10_000


class _ColumnDescription(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    name: str | None = Field(None, max_length=1000)
    output_alias: str | None = Field(None, max_length=1000)
    data_type: str = Field(max_length=200)
    is_nullable: bool = True
    is_business_key: bool = False
    declared_coercion: str = ""

    @model_validator(mode="after")
    def _is_named(self) -> _ColumnDescription:
        if not self.output_alias and self.name is None:
            raise ValueError("a column needs an output_alias or a name")
        return self

    @property
    def column_name(self) -> str:
        """The name in the records and in the table: SyncFlow maps the API's output_alias to the column."""
        return self.output_alias or self.name or ""


class ApiDescription(BaseModel):
    """One element of `/api/v1/apis` (S2); fields that we do not know are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    slug: str
    name: str | None = Field(None, max_length=10_000)
    description: str | None = Field(None, max_length=100_000)
    columns: list[_ColumnDescription]
    business_key_columns: list[str] = []
    delta_strategy: str = "full"
    rowversion_codec: str | None = None
    declared_interval_seconds: int | None = Field(None, ge=1, le=2**31 - 1)
    declared_lookback_seconds: int | None = Field(None, ge=0, le=2**31 - 1)


def parse_api(
    raw: Any,
    connector: Connector,
    settings: Settings,
) -> Entity:
    """Turn one description into an entity of the connector.

    Raises:
        EntityDefinitionError, UnknownTypeError: the description cannot be used; the message names why.
    """
    try:
        api = ApiDescription.model_validate(raw)
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_input=False):
            place = ".".join(map(str, problem["loc"]))
            problems.append(f"{place}: {problem['msg']}")
        shown = printable("; ".join(problems), 300)
        raise EntityDefinitionError(f"The description is not readable: {shown}.") from None
    slug = check_slug(api.slug)
    columns = _columns(api, connector)
    check_columns(columns)
    description = (api.description or "").replace("\x00", "")
    return Entity(
        uid=uuid4(),
        connector=connector.name,
        slug=slug,
        api_name=_one_line(api.name or slug, 200),
        description=description[:10_000],
        delta_strategy=_strategy(api),
        columns=columns,
        target_schema=connector.target_schema,
        target_table=shorten_identifier(table_name_for(slug), 53),
        policy=_policy(api, settings),
        position=Position(cursor_codec=_codec(api)),
    )


def _policy(api: ApiDescription, settings: Settings) -> SyncPolicy:
    interval = api.declared_interval_seconds
    lookback = api.declared_lookback_seconds
    return SyncPolicy(
        sync_interval_seconds=interval or settings.schedule.default_sync_interval_seconds,
        lookback_seconds=settings.runs.default_lookback_seconds if lookback is None else lookback,
        max_vanished_share=settings.runs.max_vanished_share,
    )


def _columns(api: ApiDescription, connector: Connector) -> tuple[Column, ...]:
    names = {column.column_name for column in api.columns}
    # A key may be named as the source calls its column.
    aliases = {
        column.name: column.column_name
        for column in api.columns
        if column.name is not None and column.name not in names
    }
    listed = set()
    for name in api.business_key_columns:
        listed.add(aliases.get(name, name))
    flagged = {column.column_name for column in api.columns if column.is_business_key}
    unknown = sorted(listed - names)
    if unknown:
        raise EntityDefinitionError(
            f"The business key names {unknown[0]!r}, which is not among the columns."
        )
    if listed and flagged and listed != flagged:
        raise EntityDefinitionError(
            f"business_key_columns says {sorted(listed)}, the columns' flags say {sorted(flagged)}."
        )
    keys = listed or flagged
    # What may be cut is a person's decision: a source that describes itself has no say in it.
    may_coerce = bool(connector.declaration)
    return tuple(
        Column(
            column.column_name,
            column.data_type,
            column.is_nullable,
            column.column_name in keys,
            column.declared_coercion if may_coerce else "",
        )
        for column in api.columns
    )


def _strategy(api: ApiDescription) -> DeltaStrategy:
    try:
        return DeltaStrategy(api.delta_strategy.lower())
    except ValueError:
        raise EntityDefinitionError(
            f"The delta strategy {printable(api.delta_strategy, 60)!r} is unknown; known: full, rowversion, hash."
        ) from None


def _codec(api: ApiDescription) -> Codec | None:
    if api.rowversion_codec is None:
        return None
    try:
        return Codec(api.rowversion_codec.lower())
    except ValueError:
        raise EntityDefinitionError(
            f"The rowversion codec {printable(api.rowversion_codec, 60)!r} is unknown; known: {', '.join(Codec)}."
        ) from None


def _one_line(text: str, limit: int) -> str:
    return printable(text, limit - 1)


def parse_apis(
    raw_apis: Iterable[Any],
    connector: Connector,
    settings: Settings,
) -> tuple[dict[str, Entity], dict[str, SyncError]]:
    """Entities by slug, and by slug (or place) what is wrong with the others.

    Two APIs whose slugs give the same table or the same asset are both refused: neither can be preferred.

    Raises:
        SourceContractError: there are too many; none is left out silently, and none is taken for vanished.
    """
    most = itertools.islice(raw_apis, MAX_APIS + 1)
    raw_apis = list(most)
    if len(raw_apis) > MAX_APIS:
        raise SourceContractError(
            f"The source lists more than {MAX_APIS} APIs, which is taken for a fault.",
            state="The catalog is as before.",
        )
    entities: dict[str, Entity] = {}
    errors: dict[str, SyncError] = {}
    taken: dict[tuple[str, str], str] = {}
    for place, raw in enumerate(raw_apis):
        label = _label(raw, place)
        try:
            entity = parse_api(raw, connector, settings)
            clash = _claim(entity, taken)
            if clash is not None:
                entities.pop(clash, None)
                twin = EntityDefinitionError(
                    f"Its slug gives the same table or asset as {entity.slug!r}; both are left out."
                )
                twin_error = twin.at(connector=connector.name, entity=clash)
                errors.setdefault(clash, twin_error)
                raise EntityDefinitionError(
                    f"Its slug gives the same table or asset as {clash!r}; both are left out."
                )
            entities[entity.slug] = entity
        except SyncError as error:
            errors[label] = error.at(connector=connector.name, entity=label)
    return entities, errors


def _label(raw: Any, place: int) -> str:
    """How errors name a description: by its slug, else by its place in the list."""
    slug = raw.get("slug") if isinstance(raw, dict) else None
    if isinstance(slug, str) and slug:
        return printable(slug, 100)
    return f"#{place + 1}"


def _claim(entity: Entity, taken: dict[tuple[str, str], str]) -> str | None:
    """Take the table and the asset of an entity; the slug that has one of them already, else None."""
    asset = asset_name_for(entity.slug).lower()
    clash = None
    claims = [("table", entity.target_table), ("asset", asset)]
    for claim in claims:
        if clash is None:
            clash = taken.get(claim)
        taken.setdefault(claim, entity.slug)
    return clash
