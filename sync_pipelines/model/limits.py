"""What a connector may cost and how far it is trusted."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sync_pipelines.errors import SettingsError


class HttpLimits(BaseModel):
    """Limits of one connector's HTTP session; kept in `bridge.connectors.settings`.

    Attributes:
        timeout_seconds: for connecting and for each read.
        page_deadline_seconds: for one whole answer, so that dripping bytes cannot hold a run for ever.
        tries: attempts of one request, the first included.
        backoff_seconds: pause before the second try; doubles each time, with jitter.
        max_retry_after_seconds: a longer Retry-After ends the run instead of holding it.
        max_page_bytes: most decoded bytes of one answer.
        max_ratio: most decoded bytes per byte on the wire.
        requests_per_second: rate limit over all entities of the connector in one process; None = none.
        max_connections: simultaneous requests in one process.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_seconds: float = Field(30, gt=0)
    page_deadline_seconds: float = Field(300, gt=0)
    tries: int = Field(3, ge=1, le=20)
    backoff_seconds: float = Field(0.5, ge=0)
    max_retry_after_seconds: float = Field(300, ge=0)
    max_page_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    max_ratio: int = Field(200, ge=2)
    requests_per_second: float | None = Field(None, gt=0)
    max_connections: int = Field(10, ge=1)

    @classmethod
    def from_settings(cls, settings: dict[str, Any], **defaults: Any) -> HttpLimits:
        """Limits of a connector's settings over process-wide defaults.

        Raises:
            SettingsError: an unknown name or a value out of range.
        """
        try:
            return cls(**{**defaults, **settings})
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise SettingsError(
                f"The connector's settings are wrong: {problems}; known: {', '.join(cls.model_fields)}.",
                state="Nothing was stored.",
            ) from None
