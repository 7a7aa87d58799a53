"""A declared source: what a connector file says as a whole."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from sync_pipelines.model.authentication import Auth
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.model.strict_model import Owner, Scalar, StrictModel, UrlPath
from sync_pipelines.secrets import references_in


class OpenApiSource(StrictModel):
    """Where the OpenAPI document is: a path of the same origin, or a file; and which of its operations to take."""

    path: UrlPath | None = None
    file: str | None = None
    include: list[str] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> OpenApiSource:
        if (self.path is None) == (self.file is None):
            raise ValueError(
                "an OpenAPI document is either at a `path` of the source or in a `file`"
            )
        return self


class Declaration(StrictModel):
    """A whole connector file after its inputs were filled in.

    Attributes:
        owners: who answers for the data; they own the assets in Dagster, instead of SYNC_OWNERS.
        destination: where new entities go; None = PostgreSQL, or where they went before.
        trino: how this connector reaches Trino, where that differs from the environment
            (`destinations.trino.options.TrinoOptions`).
        destination_options: the same for any other destination.
        source, arguments: of the kind dlt: `module.function`, and what it is called with; a secret as env:NAME.
        overrides: not of a file: what the file said about endpoints before an OpenAPI document completed them.
    """

    name: str
    kind: str = Field(pattern=r"^[a-z][a-z0-9_]{0,19}$")
    description: str = Field("", max_length=10_000)
    base_url: str
    target_schema: str | None = Field(None, alias="schema")
    destination: str | None = None
    trino: dict[str, Scalar] | None = None
    destination_options: dict[str, Scalar] | None = None
    auth: Auth | None = None
    limits: HttpLimits | None = None
    openapi: OpenApiSource | None = None
    source: str | None = Field(
        None,
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        max_length=500,
    )
    arguments: dict[str, Any] = {}
    owners: list[Owner] = []
    endpoints: dict[str, Endpoint] = {}
    overrides: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _matches_kind(self) -> Declaration:
        if (self.kind == "openapi") != (self.openapi is not None):
            raise ValueError("`openapi` belongs to the kind openapi, and that needs it")
        if self.openapi is None and not self.endpoints:
            raise ValueError(f"a connector of kind {self.kind} needs at least one endpoint")
        if self.trino is not None and self.destination_options is not None:
            raise ValueError("`trino` and `destination_options` say the same; give one of them")
        return self

    @property
    def reach(self) -> dict[str, Scalar] | None:
        """The options of the destination."""
        return self.destination_options if self.trino is None else self.trino

    def as_json(self) -> dict[str, Any]:
        """What `bridge.connectors.declaration` keeps: the file without what was left out of it."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @property
    def secrets(self) -> list[str]:
        """The references it uses."""
        auth = {} if self.auth is None else self.auth.model_dump()
        return references_in([auth, self.arguments])
