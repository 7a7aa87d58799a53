"""How a declared source is asked with a secret: the kinds of `auth` of a connector file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sync_pipelines.model.strict_model import Address, HeaderName, SecretReference, StrictModel


class ApiKeyAuth(StrictModel):
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


class BearerAuth(StrictModel):
    """`Authorization: Bearer …`."""

    type: Literal["bearer"]
    token: SecretReference


class BasicAuth(StrictModel):
    """`Authorization: Basic …`."""

    type: Literal["basic"]
    username: SecretReference
    password: SecretReference


class OAuth2Auth(StrictModel):
    """OAuth 2 client credentials (RFC 6749, 4.4); the token is fetched anew before it ends and after a 401.

    Attributes:
        token_url: may be of another origin than the source; only the client's credentials go there.
        send: credentials in the form (`body`) or as `Authorization: Basic` (`header`).
    """

    type: Literal["oauth2"]
    token_url: Address = Field(pattern=r"^https?://[^\s@?#]+$")
    client_id: SecretReference
    client_secret: SecretReference
    scope: str | None = None
    send: Literal["body", "header"] = "body"


Auth = Annotated[ApiKeyAuth | BearerAuth | BasicAuth | OAuth2Auth, Field(discriminator="type")]
