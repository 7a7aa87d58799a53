"""One entity of a declared source: what a connector file says of its requests, records and columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import DeltaStrategy
from sync_pipelines.model.pagination import (
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
)
from sync_pipelines.model.strict_model import REFERENCE, Scalar, StrictModel, UrlPath

MAX_RESUME_SECONDS = 7 * 86_400
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
_OWN_TABLES_OF_POSTGRES = ("pg_", "information_schema.")


class CursorDeclaration(StrictModel):
    """How an endpoint is asked for what changed.

    Attributes:
        field: column (name in the table) that grows with every change.
        param: query parameter by which the endpoint filters, or variable of its GraphQL query.
        order: `ascending` when the endpoint sorts by the field and filters strictly greater, which allows the protocol
            that loses nothing while the source is written to; `any` otherwise.
    """

    field: str
    param: str
    order: Literal["ascending", "any"] = "any"
    codec: Codec | None = None
    lookback_seconds: int | None = Field(None, ge=0)


class IdList(StrictModel):
    """Records are asked for by their ids, so many in a request.

    Attributes:
        values, table: the ids themselves, or `schema.table.column` of the same database that holds them.
        param: query parameter for the ids, joined by commas; None when the path has `{id}`, one request each.
        column: the id's column; the business key when left out.
        verified: field that must be true in every record.
        min_success: least share of all ids of a run that must be good, or nothing of the run is published; a row that
            did not change is good.
    """

    values: list[int | str] | None = None
    table: str | None = Field(None, pattern=r"^[^.\s]+\.[^.\s]+\.[^.\s]+$")
    param: str | None = None
    size: int = Field(50, ge=1, le=10_000)
    column: str | None = None
    verified: str | None = None
    min_success: float = Field(0.8, ge=0, le=1)

    @model_validator(mode="after")
    def _one_source(self) -> IdList:
        if (self.values is None) == (self.table is None):
            raise ValueError("ids come either from `values` or from `table`: give one of them")
        if self.values == []:
            raise ValueError("an empty list of ids asks for nothing")
        table = (self.table or "").lower()
        if table.startswith(_OWN_TABLES_OF_POSTGRES):
            raise ValueError(
                "ids are read from a table of yours and not from PostgreSQL's own, which hold no ids of a source"
            )
        for value in self.values or ():
            if not _ID.fullmatch(str(value)):
                raise ValueError("an id has only letters, digits and _ . : -")
        return self


class ColumnDeclaration(StrictModel):
    """One column: its name in the table, its type, and the field it comes from (dots lead into nested objects)."""

    name: str = Field(min_length=1, max_length=1000)
    type: str = Field(max_length=200)
    source: str | list[str] | None = Field(None, alias="from")
    null: bool = True
    key: bool = False


class Coercion(StrictModel):
    """What a person allows of one column: another type than inferred or described, and what becomes of values that do
    not fit it.

    Attributes:
        type: instead of the column's own.
        truncate: what is finer or longer than the type is cut.
        lenient: what does not fit at all becomes null.
    """

    type: str | None = Field(None, max_length=200)
    truncate: bool = False
    lenient: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_word(cls, value: Any) -> Any:
        is_word = value in ("truncate", "lenient")
        return {value: True} if is_word else value

    @model_validator(mode="after")
    def _says_something(self) -> Coercion:
        if self.type is None and not self.truncate and not self.lenient:
            raise ValueError("a coercion is `truncate`, `lenient`, or {type, truncate, lenient}")
        return self


class WriteBack(StrictModel):
    """How one record is written to the source, when somebody orders it; never by a sync.

    Attributes:
        path: with `{id}`, which is the business key.
        columns: those that may be changed.
    """

    path: UrlPath
    columns: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_id(self) -> WriteBack:
        if self.path.count("{id}") != 1:
            raise ValueError("the path of a write-back names the record by {id}")
        return self


MetricSource = Literal[
    "fetched",
    "valid",
    "quarantined",
    "inserted",
    "updated",
    "unchanged",
    "deleted",
    "page_size",
    "requests",
    "api_seconds_mean",
    "api_seconds_p95",
    "api_seconds_max",
    "duration_seconds",
]


class Endpoint(StrictModel):
    """One entity of a declared source.

    Attributes:
        path: where it is; only endpoints of an OpenAPI document may leave it out.
        query, variables: of the kind graphql.
        resource: of the kind dlt; the entity's own name when left out.
        records: JSONPath to the records in an answer, or several, of which the first that leads to some is taken.
        columns: None = inferred from a sample when the file is applied, then fixed.
        fields: of the columns, only these, beside key and cursor; the source gets them in `fields_param`, if that is
            given.
        mapping: field (dots lead into nested objects) -> column.
        flatten: fields of nested objects become columns, their names joined by _.
        resume_seconds: answers are kept on disk until the run is through; a run that follows a crash within this time
            goes on with them.
        recording: a file with one answer, read instead of asking the source.
        metrics: name -> figure of a run.
        coerce: column -> what is allowed where its values do not fit.
    """

    path: UrlPath = "/"
    title: str | None = Field(None, max_length=200)
    description: str = Field("", max_length=10_000)
    query: str | None = Field(None, max_length=100_000)
    variables: dict[str, Any] = {}
    resource: str | None = Field(None, max_length=200)
    params: dict[str, Scalar | list[Scalar]] = {}
    records: str | Annotated[list[str], Field(min_length=1, max_length=10)] = "$"
    key: list[str] = []
    strategy: DeltaStrategy | None = None
    pagination: Pagination = NoPagination()
    cursor: CursorDeclaration | None = None
    columns: list[ColumnDeclaration] | None = None
    fields: list[str] | None = None
    fields_param: str | None = None
    mapping: dict[str, str] = {}
    flatten: bool = False
    ids: IdList | None = None
    interval_seconds: int | None = Field(None, ge=1)
    resume_seconds: int | None = Field(None, ge=1, le=MAX_RESUME_SECONDS)
    recording: str | None = None
    write_back: WriteBack | None = None
    metrics: dict[str, MetricSource] = {}
    coerce: dict[str, Coercion] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Endpoint:
        self._check_cursor()
        self._check_path()
        for name, text in self._sent_texts():
            if REFERENCE.fullmatch(text):
                raise ValueError(
                    f"a secret is sent by `auth` only, so the parameter {name} would be sent as the text env:…"
                )
        return self

    def _sent_texts(self) -> Iterator[tuple[str, str]]:
        """Names and texts of all parameters and variables."""
        for parameters in (self.params, self.variables):
            for name, value in parameters.items():
                values = value if isinstance(value, list) else [value]
                for one in values:
                    yield name, str(one)

    def _check_cursor(self) -> None:
        if self.strategy is DeltaStrategy.ROWVERSION and self.cursor is None:
            raise ValueError("the strategy rowversion needs a `cursor`")
        if self.cursor is not None and self.strategy not in (None, DeltaStrategy.ROWVERSION):
            raise ValueError(f"a `cursor` is of no use to the strategy {self.strategy}")
        has_numbered_pages = isinstance(self.pagination, PagePagination | OffsetPagination)
        if self.is_ascending and not has_numbered_pages:
            raise ValueError("a cursor with order ascending needs the pagination page or offset")
        if self.cursor is not None and self.resume_seconds is not None:
            raise ValueError(
                "resume_seconds would make a cursor move past changes that kept answers do not have"
            )
        if self.is_ascending and self.ids is not None:
            raise ValueError("ids are asked for in any order, so the cursor's order is any")

    def _check_path(self) -> None:
        is_id_in_path = "{id}" in self.path
        needs_id_in_path = self.ids is not None and self.ids.param is None
        if is_id_in_path != needs_id_in_path:
            raise ValueError("ids go either into `ids.param` or into the path as {id}")
        rest = self.path.replace("{id}", "")
        if "{" in rest or "}" in rest:
            raise ValueError("the path has a placeholder other than {id}")

    @property
    def has_pages(self) -> bool:
        """Its answers are pages of a list, so that an object alone is no record but an error that calls itself a
        success.
        """
        return not isinstance(self.pagination, NoPagination)

    @property
    def is_ascending(self) -> bool:
        """It answers sorted by its cursor, and with what is strictly greater only."""
        return self.cursor is not None and self.cursor.order == "ascending"

    @property
    def delta_strategy(self) -> DeltaStrategy:
        """As declared; without a word, rowversion where there is a cursor and full where there is none."""
        if self.strategy is not None:
            return self.strategy
        return DeltaStrategy.FULL if self.cursor is None else DeltaStrategy.ROWVERSION
