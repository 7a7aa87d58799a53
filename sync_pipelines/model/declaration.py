"""A declared source: what a connector file says of its address, its authentication and its endpoints."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.entity import DeltaStrategy
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.secrets import references_in

MAX_PAGE_SIZE = 100_000
MAX_RESUME_SECONDS = 7 * 86_400
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_SENT_BY_US = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}


def _reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        # Without the value: it may be the secret itself.
        raise ValueError(
            "a secret is given as a reference, env:NAME, naming the environment variable that holds it"
        )
    return value


def _path(value: str) -> str:
    if (
        not value.startswith("/")
        or value.startswith("//")
        or "?" in value
        or "#" in value
        or ".." in value.split("/")
    ):
        raise ValueError("a path begins with one / and has no query, fragment or ..")
    if any(ord(letter) <= 32 or ord(letter) > 126 for letter in value):
        raise ValueError("a path has only printable ASCII letters and no blanks")
    return value


def _header(value: str) -> str:
    if not _HEADER.fullmatch(value) or value.lower() in _SENT_BY_US:
        raise ValueError("this cannot be the name of a header that carries a key")
    return value


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("this is no address: http(s)://host[:port][/path]")
    return value


def _owner(value: str) -> str:
    if not re.fullmatch(r"team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[^@\s]+", value):
        raise ValueError("an owner is team:NAME or an e-mail address")
    return value


Owner = Annotated[str, AfterValidator(_owner)]
SecretReference = Annotated[str, AfterValidator(_reference)]
UrlPath = Annotated[str, AfterValidator(_path)]
HeaderName = Annotated[str, AfterValidator(_header)]
Scalar = str | int | bool


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )


class ApiKeyAuth(_Model):
    """A key in a header or in the query."""

    type: Literal["api_key"]
    key: SecretReference
    header: HeaderName | None = None
    query: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> ApiKeyAuth:
        if (self.header is None) == (self.query is None):
            raise ValueError(
                "an api_key goes either into a header or into the query: give one of `header` and `query`"
            )
        return self


class BearerAuth(_Model):
    """`Authorization: Bearer …`."""

    type: Literal["bearer"]
    token: SecretReference


class BasicAuth(_Model):
    """`Authorization: Basic …`."""

    type: Literal["basic"]
    username: SecretReference
    password: SecretReference


class OAuth2Auth(_Model):
    """OAuth 2 client credentials (RFC 6749, 4.4); the token is fetched anew before it ends and after a 401.

    Attributes:
        token_url: may be of another origin than the source; only the client's credentials go there.
        send: credentials in the form (`body`) or as `Authorization: Basic` (`header`).
    """

    type: Literal["oauth2"]
    token_url: Annotated[str, AfterValidator(_address)] = Field(pattern=r"^https?://[^\s@?#]+$")
    client_id: SecretReference
    client_secret: SecretReference
    scope: str | None = None
    send: Literal["body", "header"] = "body"


Auth = Annotated[ApiKeyAuth | BearerAuth | BasicAuth | OAuth2Auth, Field(discriminator="type")]


class _Ending(_Model):
    """How a list ends.

    Attributes:
        checked: what the answers say of it (has_more, a next page, a total) is compared with what was read.
    """

    checked: bool = True


class NoPagination(_Ending):
    """One answer is everything."""

    type: Literal["none"] = "none"
    size: int | None = Field(None, ge=1, le=MAX_PAGE_SIZE)
    size_param: str | None = None


class _Sized(_Ending):
    size: int | None = Field(None, ge=1, le=MAX_PAGE_SIZE)
    max_size: int = Field(MAX_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)

    @model_validator(mode="after")
    def _within(self) -> _Sized:
        if self.size is not None and self.size > self.max_size:
            raise ValueError(f"size {self.size} is larger than max_size {self.max_size}")
        return self


class PagePagination(_Sized):
    """By page number; `last_page` ends the read of a source that never ends by itself."""

    type: Literal["page"]
    page_param: str = "page"
    first_page: int = Field(1, ge=0)
    last_page: int | None = Field(None, ge=0)
    size_param: str | None = None


class OffsetPagination(_Sized):
    """By offset and limit."""

    type: Literal["offset"]
    offset_param: str = "offset"
    size_param: str = "limit"


class CursorPagination(_Sized):
    """By a token of the answer, which goes into the next request; false at `has_more_path` ends it, too."""

    type: Literal["cursor"]
    cursor_path: str
    cursor_param: str = "cursor"
    has_more_path: str | None = None
    size_param: str | None = None


class LinkHeaderPagination(_Sized):
    """By the header `Link: <…>; rel="next"`."""

    type: Literal["link_header"]
    rel: str = "next"
    size_param: str | None = None


class NextLinkPagination(_Sized):
    """By an address in the answer."""

    type: Literal["next_link"]
    next_path: str = "next"
    size_param: str | None = None


class ConnectionPagination(_Sized):
    """By the cursor connection of a GraphQL query: `pageInfo { hasNextPage endCursor }`.

    Attributes:
        after: variable of the query that takes the endCursor.
        size_param: variable that takes the size of a page; None where the query has none.
    """

    type: Literal["connection"]
    after: str = "after"
    size_param: str | None = "first"


Pagination = Annotated[
    NoPagination
    | PagePagination
    | OffsetPagination
    | CursorPagination
    | LinkHeaderPagination
    | NextLinkPagination
    | ConnectionPagination,
    Field(discriminator="type"),
]


class CursorDeclaration(_Model):
    """How an endpoint tells what changed.

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


class IdList(_Model):
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
        if self.table is not None and self.table.lower().startswith(("pg_", "information_schema.")):
            raise ValueError(
                "ids are read from a table of yours and not from PostgreSQL's own, which hold no ids of a source"
            )
        for value in self.values or ():
            if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,200}", str(value)):
                raise ValueError("an id has only letters, digits and _ . : -")
        return self


class ColumnDeclaration(_Model):
    """One column: its name in the table, its type, and the field it comes from (dots lead into nested objects)."""

    name: str = Field(min_length=1, max_length=1000)
    type: str = Field(max_length=200)
    source: str | list[str] | None = Field(None, alias="from")
    null: bool = True
    key: bool = False


class Coercion(_Model):
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
        return {value: True} if value in ("truncate", "lenient") else value

    @model_validator(mode="after")
    def _says_something(self) -> Coercion:
        if self.type is None and not self.truncate and not self.lenient:
            raise ValueError("a coercion is `truncate`, `lenient`, or {type, truncate, lenient}")
        return self


class WriteBack(_Model):
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
    "fetched", "valid", "quarantined", "inserted", "updated", "unchanged", "deleted", "page_size", "requests",
    "api_seconds_mean", "api_seconds_p95", "api_seconds_max", "duration_seconds",
]  # fmt: skip


class Endpoint(_Model):
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
        flatten: nested objects become columns of their own, joined by _.
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
        for name, value in (*self.params.items(), *self.variables.items()):
            texts = [str(one) for one in (value if isinstance(value, list) else [value])]
            if any(_REFERENCE.fullmatch(text) for text in texts):
                raise ValueError(
                    f"a secret is sent by `auth` only, so the parameter {name} would be sent as the text env:…"
                )
        return self

    def _check_cursor(self) -> None:
        if self.strategy is DeltaStrategy.ROWVERSION and self.cursor is None:
            raise ValueError("the strategy rowversion needs a `cursor`")
        if self.cursor is not None and self.strategy not in (None, DeltaStrategy.ROWVERSION):
            raise ValueError(f"a `cursor` is of no use to the strategy {self.strategy}")
        if self.is_ascending and not isinstance(
            self.pagination,
            (PagePagination, OffsetPagination),
        ):
            raise ValueError("a cursor with order ascending needs the pagination page or offset")
        if self.cursor is not None and self.resume_seconds is not None:
            raise ValueError(
                "resume_seconds would make a cursor move past changes that kept answers do not have"
            )
        if self.is_ascending and self.ids is not None:
            raise ValueError("ids are asked for in any order, so the cursor's order is any")

    def _check_path(self) -> None:
        if ("{id}" in self.path) != (self.ids is not None and self.ids.param is None):
            raise ValueError("ids go either into `ids.param` or into the path as {id}")
        if re.search(r"[{}]", self.path.replace("{id}", "")):
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
        return self.strategy or (DeltaStrategy.ROWVERSION if self.cursor else DeltaStrategy.FULL)


class OpenApiSource(_Model):
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


class Declaration(_Model):
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
