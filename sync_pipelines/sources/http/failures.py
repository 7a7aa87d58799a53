"""What went wrong with a request, as an error whose class decides whether another try can help."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import urllib3
from urllib3.exceptions import MaxRetryError, SSLError

from sync_pipelines.errors import (
    AuthenticationError,
    ConfigurationError,
    GuardError,
    RetriableError,
    SourceBusyError,
    SourceContractError,
    SourceUnreachableError,
)
from sync_pipelines.secrets import excerpt_of, printable

_BUSY_STATUSES = {408, 425, 429, 500, 502, 503, 504}


def describe(error: BaseException) -> str:
    """An error of a library in words, without secrets."""
    return printable(f"{type(error).__name__}: {error}", 200)


def transport_error(error: Exception) -> RetriableError | ConfigurationError:
    """The error of a request without answer."""
    reason: BaseException = error
    if isinstance(error, MaxRetryError) and error.reason:
        reason = error.reason
    cause = reason.__cause__
    if isinstance(cause, ssl.SSLError):
        is_refused = _is_certificate_refused(cause, reason)
    else:
        cause = reason
        is_refused = isinstance(reason, SSLError) and _is_certificate_refused(reason, reason)
    if is_refused:
        return ConfigurationError(
            f"The source's certificate is not valid: {describe(cause)}.",
            next_command="renew the certificate",
        )
    return SourceUnreachableError(f"The source does not answer: {describe(reason)}.")


def _is_certificate_refused(cause: BaseException, reason: BaseException) -> bool:
    # urllib3 hands the error of the ssl module over as an argument, without raising its own from it.
    errors = (cause, *reason.args)
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in errors)


def status_error(
    response: urllib3.BaseHTTPResponse, body: bytes
) -> RetriableError | ConfigurationError:
    """The error of an answer that is not good.

    Args:
        response: its status and headers.
        body: what may be shown of it.
    """
    status = response.status
    ending = f": {excerpt_of(body)}" if body else "."
    answered = f"The source answered {status}{ending}"
    if status in _BUSY_STATUSES or status >= 500:
        busy = SourceBusyError(answered, status=status)
        busy.retry_after_seconds = _retry_after(response)
        return busy
    if status in (401, 403):
        return AuthenticationError(
            f"The source refused the token. {answered}",
            next_command="check the token's variable, then sync-pipelines doctor",
            status=status,
        )
    if 300 <= status < 400:
        target = printable(response.headers.get("Location", "elsewhere"), 120)
        return GuardError(
            f"The source redirects to {target}; redirects are not followed, the token stays here.",
            status=status,
            answered=True,
        )
    return SourceContractError(answered, status=status)


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    # A date is meant by the clock of the one who wrote it, which may differ from ours.
    now = _moment(response.headers.get("Date"))
    return retry_after_seconds(response.headers.get("Retry-After"), now)


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3): a number or an HTTP date; None when absent or unreadable."""
    if header is None:
        return None
    text = header.strip()
    if text.isdecimal():
        return float(text[:12])
    moment = _moment(header)
    if moment is None:
        return None
    waiting = moment - (now or datetime.now(UTC))
    return max(0.0, waiting.total_seconds())


def _moment(header: str | None) -> datetime | None:
    """The moment of an HTTP date; None when absent or unreadable."""
    try:
        moment = parsedate_to_datetime(header or "")
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
