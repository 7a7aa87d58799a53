"""Send one message to one receiver, signed after standardwebhooks."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from standardwebhooks.webhooks import Webhook as Signer
from urllib3 import BaseHTTPResponse, PoolManager, Timeout
from urllib3.exceptions import HTTPError

from sync_pipelines.catalog.webhooks import check_address
from sync_pipelines.errors import ConfigurationError, GuardError, SettingsError
from sync_pipelines.model.incident import Webhook
from sync_pipelines.network.deadline import pool_with_deadline
from sync_pipelines.network.outbound import Outbound, named_by
from sync_pipelines.secrets import check_reference, printable, register_secret, resolve_secret
from sync_pipelines.settings import Settings
from sync_pipelines.sources.http.failures import retry_after_seconds

GONE = 410
_EXCERPT_BYTES = 2048
_EXCERPT_CHARACTERS = 200
_KEY_BYTES = 24
_PREFIX = "whsec_"
_USER_AGENT = "sync_pipelines/0.1"
_SECRET_PATH_CHARACTERS = 8


@dataclass(frozen=True)
class Answer:
    """How an attempt ended.

    Attributes:
        status: of the HTTP answer; None when there was none.
        error: why the message was not taken, without secrets; None when it was.
        retry_after_seconds: what the receiver asked for.
    """

    status: int | None = None
    error: str | None = None
    retry_after_seconds: float | None = None


def signing_key(reference: str) -> str:
    """The key behind a reference.

    Raises:
        SecretMissingError: the variable is not set.
        SettingsError: it is not base64 of at least 24 bytes.
    """
    value = resolve_secret(check_reference(reference)) or ""
    encoded = value.removeprefix(_PREFIX)
    padding = "=" * (-len(encoded) % 4)
    try:
        key = base64.b64decode(encoded + padding, validate=True)
    except binascii.Error:
        key = b""
    if len(key) < _KEY_BYTES:
        raise SettingsError(
            f"The secret {reference} is no key for signing: base64 of at least {_KEY_BYTES} bytes, with or without"
            f" {_PREFIX} in front.",
            state="Nothing was stored or sent.",
            next_command="export NAME=whsec_$(openssl rand -base64 32), and give the receiver the same",
        )
    return value


def _resolved(url: str) -> str:
    if not url.startswith("env:"):
        return check_address(url)
    address = check_address(resolve_secret(url) or "")
    # A receiver, or a library's log, may repeat the path alone.
    path = urlsplit(address).path
    if len(path) >= _SECRET_PATH_CHARACTERS:
        register_secret(path)
    return address


def call_address(
    url: str,
    timeout_seconds: float,
    outbound: Outbound | None = None,
) -> str | None:
    """Call an address with GET; returns why that did not work, without the path, which may be a secret, or None.

    Args:
        url: the address, or a reference to it.
        timeout_seconds: for the whole exchange.
        outbound: which addresses need not be public.
    """
    try:
        address = _resolved(url)
        outbound = (outbound or Outbound()).with_private(named_by([address]))
    except ConfigurationError as error:
        return printable(str(error), _EXCERPT_CHARACTERS * 2)
    pool = pool_with_deadline(
        timeout_seconds,
        outbound.check_addresses,
        num_pools=1,
        retries=False,
    )
    try:
        response = _request(
            pool,
            "GET",
            address,
            timeout_seconds,
            {"User-Agent": _USER_AGENT},
        )
        response.close()
    except GuardError as error:
        return printable(f"{error.what} Next: {error.next_command}", _EXCERPT_CHARACTERS * 2)
    except (HTTPError, OSError) as error:
        return f"The receiver does not answer: {type(error).__name__}."
    finally:
        pool.clear()
    return None if 200 <= response.status < 300 else f"The receiver answered {response.status}."


def outbound_of(webhook: Webhook, settings: Settings) -> Outbound:
    """Which addresses a receiver may be at although they are not public."""
    return Outbound(private=frozenset(webhook.private_origins)).with_settings(settings)


def send_message(
    url: str,
    secret: str,
    message_id: str,
    body: str,
    timeout_seconds: float,
    outbound: Outbound | None = None,
) -> Answer:
    """Send a message; never raises for what the receiver, the network or the configuration does.

    Args:
        url: the address, or a reference to it.
        secret: reference to the key.
        message_id: the same in every attempt, so that the receiver recognizes a repetition.
        body: JSON.
        timeout_seconds: for the whole exchange.
        outbound: which addresses need not be public; this machine needs no word where the address is written as such.
    """
    try:
        address = _resolved(url)
        outbound = (outbound or Outbound()).with_private(named_by([address]))
        now = datetime.now(UTC)
        signature = Signer(signing_key(secret)).sign(message_id, now, body)
    except ConfigurationError as error:
        return Answer(error=printable(str(error), _EXCERPT_CHARACTERS * 2))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": _USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    pool = pool_with_deadline(
        timeout_seconds,
        outbound.check_addresses,
        num_pools=1,
        retries=False,
    )
    try:
        response = _request(
            pool,
            "POST",
            address,
            timeout_seconds,
            headers,
            body.encode(),
        )
        try:
            excerpt = b""
            if response.status >= 300:
                excerpt = response.read(_EXCERPT_BYTES, decode_content=False)
        finally:
            response.close()
    except GuardError as error:
        text = f"{error.what} Next: {error.next_command}"
        return Answer(error=printable(text, _EXCERPT_CHARACTERS * 2))
    except (HTTPError, OSError) as error:
        # urllib3 names host and path in its messages; the path may be a secret.
        return Answer(error=f"The receiver does not answer: {type(error).__name__}.")
    finally:
        pool.clear()
    if 200 <= response.status < 300:
        return Answer(response.status)
    if 300 <= response.status < 400:
        return Answer(response.status, "The receiver redirects; redirects are not followed.")
    text = excerpt.decode("utf-8", errors="backslashreplace")
    shown = printable(text, _EXCERPT_CHARACTERS)
    why = f"The receiver answered {response.status}" + (f": {shown}" if shown else ".")
    asked = retry_after_seconds(response.headers.get("Retry-After"))
    return Answer(response.status, why, asked)


def _request(
    pool: PoolManager,
    method: str,
    address: str,
    timeout_seconds: float,
    headers: dict[str, str],
    body: bytes | None = None,
) -> BaseHTTPResponse:
    """Ask once: no redirect, no repetition, and the body is not read yet."""
    return pool.request(
        method,
        address,
        body=body,
        headers=headers,
        redirect=False,
        retries=False,
        preload_content=False,
        timeout=Timeout(total=timeout_seconds),
    )
