"""Credentials of declared sources: resolved at use from references, known to the redactor, never shown."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import Any, TypeGuard
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from sync_pipelines.errors import AuthenticationError, BrokenPageError, GuardError
from sync_pipelines.model.authentication import ApiKeyAuth, Auth, BasicAuth, BearerAuth, OAuth2Auth
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.network.outbound import Outbound
from sync_pipelines.secrets import register_secret, resolve_secret
from sync_pipelines.sources.http.credentials import Authentication, BearerToken
from sync_pipelines.sources.http.guarded import GuardedSession
from sync_pipelines.sources.http.traffic import HttpRequest, Reply

RENEW_BEFORE_SECONDS = 30.0
DEFAULT_LIFETIME_SECONDS = 300.0
MAX_TOKEN_ANSWER_BYTES = 256 * 1024
MAX_TOKEN_CHARACTERS = 64 * 1024


SecretOf = Callable[[str], str]


class ApiKey:
    """A key in a header or in the query."""

    def __init__(self, auth: ApiKeyAuth, secret: SecretOf) -> None:
        self._auth = auth
        self._secret = secret

    def headers(self) -> dict[str, str]:
        """The header, where the key goes into one."""
        return self._under(self._auth.header)

    def query(self) -> dict[str, str]:
        """The parameter, where the key goes into the query."""
        return self._under(self._auth.query)

    def _under(self, name: str | None) -> dict[str, str]:
        if not name:
            return {}
        key = self._secret(self._auth.key)
        return {name: key}

    def renew(self) -> bool:
        """A key is what it is."""
        return False


class Basic:
    """User and password."""

    def __init__(self, auth: BasicAuth, secret: SecretOf) -> None:
        self._auth = auth
        self._secret = secret

    def headers(self) -> dict[str, str]:
        """The header."""
        user = self._secret(self._auth.username)
        password = self._secret(self._auth.password)
        return basic_header(user, password)

    def query(self) -> dict[str, str]:
        """Nothing."""
        return {}

    def renew(self) -> bool:
        """A password is what it is."""
        return False


class ClientCredentials:
    """OAuth 2 client credentials; one token for all threads of the process."""

    def __init__(
        self,
        auth: OAuth2Auth,
        limits: HttpLimits,
        secret: SecretOf,
        outbound: Outbound | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._auth = auth
        self._secret = secret
        self._clock = clock
        parts = urlsplit(auth.token_url)
        origin = f"{parts.scheme}://{parts.netloc}"
        most_bytes = min(limits.max_page_bytes, MAX_TOKEN_ANSWER_BYTES)
        small = limits.model_copy(update={"max_page_bytes": most_bytes})
        self._session = GuardedSession(origin, lambda: None, small, outbound=outbound)
        self._lock = threading.Lock()
        self._token: str | None = None
        self._until = 0.0
        self._sent: str | None = None

    def headers(self) -> dict[str, str]:
        """The header, with a token that is good for a while."""
        with self._lock:
            if self._token is None or self._clock() >= self._until:
                self._fetch()
            self._sent = self._token
            return {"Authorization": f"Bearer {self._token}"}

    def query(self) -> dict[str, str]:
        """Nothing."""
        return {}

    def renew(self) -> bool:
        """Forget the token that was refused, so that the next request fetches another."""
        with self._lock:
            if self._token == self._sent:
                self._token = None
            return True

    def _fetch(self) -> None:
        auth = self._auth
        client = self._secret(auth.client_id)
        secret = self._secret(auth.client_secret)
        form = {"grant_type": "client_credentials"}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if auth.scope:
            form["scope"] = auth.scope
        if auth.send == "body":
            form["client_id"] = client
            form["client_secret"] = secret
        else:
            # RFC 6749, 2.3.1: both parts are form-encoded first.
            user = quote(client, safe="")
            password = quote(secret, safe="")
            headers |= basic_header(user, password)
        request = HttpRequest(
            "POST",
            auth.token_url,
            headers=headers,
            body=urlencode(form).encode(),
        )

        def parse(reply: Reply) -> tuple[str, float]:
            return token_of(reply.body)

        self._token, lifetime = self._session.send(request, parse)
        good_seconds = max(lifetime - RENEW_BEFORE_SECONDS, lifetime / 2)
        self._until = self._clock() + good_seconds


def basic_header(user: str, password: str) -> dict[str, str]:
    """`Authorization: Basic …`; the redactor learns its value."""
    pair = f"{user}:{password}"
    value = base64.b64encode(pair.encode()).decode()
    register_secret(value)
    return {"Authorization": f"Basic {value}"}


def token_of(body: bytes) -> tuple[str, float]:
    """Token and lifetime in seconds of a token endpoint's answer.

    Raises:
        BrokenPageError, AuthenticationError, GuardError: there is none in it that we can use.
    """
    # Never with an excerpt of the body: it may hold half a token.
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BrokenPageError("The token endpoint did not answer JSON.") from None
    token = None
    if isinstance(answer, dict):
        token = answer.get("access_token")
    if not _is_usable(token):
        raise AuthenticationError("The token endpoint answered without a usable access_token.")
    token_type = str(answer.get("token_type", "bearer"))
    if token_type.lower() != "bearer":
        raise GuardError("The token endpoint gave a token that is not of the type Bearer.")
    register_secret(token)
    lifetime = answer.get("expires_in", DEFAULT_LIFETIME_SECONDS)
    try:
        return token, max(1.0, float(lifetime))
    except (TypeError, ValueError):
        return token, DEFAULT_LIFETIME_SECONDS


def _is_usable(token: Any) -> TypeGuard[str]:
    """Whether a token can be a header: printable ASCII, and not too long."""
    if not isinstance(token, str):
        return False
    if not 0 < len(token) <= MAX_TOKEN_CHARACTERS:
        return False
    return all(33 <= ord(letter) <= 126 for letter in token)


def make_authentication(
    auth: Auth | None,
    base_url: str,
    limits: HttpLimits,
    outbound: Outbound,
) -> Authentication:
    """What sends the declared credentials, each to the origin that was agreed to and to no other."""

    def secret_for(address: str) -> SecretOf:
        def secret(reference: str) -> str:
            outbound.check_secret(reference, address)
            return resolve_secret(reference) or ""

        return secret

    match auth:
        case ApiKeyAuth():
            return ApiKey(auth, secret_for(base_url))
        case BasicAuth():
            return Basic(auth, secret_for(base_url))
        case BearerAuth():
            return BearerToken(lambda: secret_for(base_url)(auth.token))
        case OAuth2Auth():
            return ClientCredentials(auth, limits, secret_for(auth.token_url), outbound)
    return BearerToken(lambda: None)
