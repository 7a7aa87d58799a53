"""What a connector may cost and how far it is trusted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    ValidationError,
)

from sync_pipelines.errors import SettingsError

MAX_RECORD_BYTES = 32 * 1024 * 1024
# PostgreSQL takes a row of less than 1 GB as text, and the quarantine writes two letters a byte.
MAX_KEPT_RECORD_BYTES = 256 * 1024 * 1024
Bytes = Annotated[int, Field(ge=1024)]
Count = Annotated[int, Field(ge=1)]
Entities = Annotated[int, Field(ge=1, le=1000)]


class HttpLimits(BaseModel):
    """Limits of one connector's HTTP session; kept in `bridge.connectors.settings`.

    Attributes:
        timeout_seconds: for connecting and for each read.
        page_deadline_seconds: for one whole answer, so that dripping bytes cannot hold a run for ever.
        tries: attempts of one request, the first included.
        backoff_seconds: pause before the second try; doubles each time, with jitter.
        max_retry_after_seconds: a longer Retry-After ends the run instead of holding it.
        max_page_bytes: most decoded bytes of one answer.
        max_document_bytes: most decoded bytes of a document that the source sends about itself: list of APIs, OpenAPI.
        max_ratio: most decoded bytes per byte on the wire.
        requests_per_second: rate limit over all entities of the connector, in all processes; None = none.
        max_connections: simultaneous requests in one process.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    timeout_seconds: PositiveFloat = 30
    page_deadline_seconds: PositiveFloat = 300
    tries: int = Field(3, ge=1, le=20)
    backoff_seconds: NonNegativeFloat = 0.5
    max_retry_after_seconds: NonNegativeFloat = 300
    max_page_bytes: Bytes = 256 * 1024 * 1024
    max_document_bytes: Bytes = 32 * 1024 * 1024
    max_ratio: int = Field(200, ge=2)
    requests_per_second: PositiveFloat | None = None
    max_connections: Count = 10

    @classmethod
    def from_settings(cls, settings: dict[str, Any], **defaults: Any) -> HttpLimits:
        """Limits of a connector's settings over process-wide defaults.

        Raises:
            SettingsError: an unknown name or a value out of range.
        """
        limits = dict(defaults)
        for name, value in settings.items():
            if name not in RunLimits.model_fields:
                limits[name] = value
        try:
            return cls(**limits)
        except ValidationError as error:
            raise _wrong(error) from None


class RunLimits(BaseModel):
    """How much of a connector is synced at once; in `bridge.connectors.settings`, too.

    Attributes:
        max_entities_per_run: most entities of a run that a sensor or schedule starts; None = MAX_ENTITIES_PER_RUN.
        max_concurrent_entities: most entities synced at once by Dagster, over all runs; the limit of the connector's
            pool. None leaves the pool as it is.
        probe_interval_seconds: least time between two probes of an entity; None = PROBE_INTERVAL_SECONDS.
        max_run_rows, max_run_bytes, max_run_seconds: what one run of an entity may read, and how long; None = as the
        process says.
        rejected_severity: what a rejected or incomplete run is in Dagster: `error` fails the step and holds back models
            downstream, `warn` does not; None = REJECTED_SEVERITY.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_entities_per_run: Entities | None = None
    max_concurrent_entities: Entities | None = None
    probe_interval_seconds: PositiveFloat | None = None
    max_run_rows: Count | None = None
    max_run_bytes: Bytes | None = None
    max_run_seconds: PositiveFloat | None = None
    rejected_severity: Literal["warn", "error"] | None = None

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> RunLimits:
        """Limits of a connector's settings; what HttpLimits knows is left to it.

        Raises:
            SettingsError: a value out of range.
        """
        limits = {name: value for name, value in settings.items() if name in cls.model_fields}
        try:
            return cls(**limits)
        except ValidationError as error:
            raise _wrong(error) from None


def check_limits(settings: dict[str, Any]) -> None:
    """Refuse settings that a connector cannot have.

    Raises:
        SettingsError: an unknown name or a value out of range.
    """
    HttpLimits.from_settings(settings)
    RunLimits.from_settings(settings)


def _wrong(error: ValidationError) -> SettingsError:
    problems = []
    for one in error.errors():
        name = ".".join(map(str, one["loc"]))
        problems.append(f"{name}: {one['msg']}")
    known = ", ".join([*HttpLimits.model_fields, *RunLimits.model_fields])
    return SettingsError(
        f"The connector's settings are wrong: {'; '.join(problems)}; known: {known}.",
        state="Nothing was stored.",
    )
