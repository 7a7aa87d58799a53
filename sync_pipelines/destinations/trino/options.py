"""How Trino is reached and where files are staged: the environment (TRINO_…), and what a connector says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from sync_pipelines.errors import SettingsError
from sync_pipelines.network.outbound import Outbound, trino_origin
from sync_pipelines.secrets import check_reference, printable, register_secret, resolve_secret

SOURCE = "sync_pipelines"
_SECRETS = ("password", "access_token")
_CREDENTIALS = (*_SECRETS, "certificate", "certificate_key")
_WHO_IS_ASKED = ("host", "port", "scheme", "verify")


class _Connection(BaseModel):
    """What the environment and a connector may both say.

    Attributes:
        catalog: holds the tables; its connector is iceberg or hive.
        access_token: a JWT or an OAuth2 access token, sent as bearer token.
        verify: `true`, `false`, or the path of a CA bundle.
        roles: `catalog=role`, comma separated.
        session_properties: `name=value`, comma separated.
        staging_url: where Parquet files are put (`file:///…`, `s3://bucket/…`); None = rows go inside the statements.
        staging_location: the same place as Trino names it, when that differs.
        staging_catalog: a Hive catalog that may read that place.
        inline_rows: up to so many rows travel inside the statement itself.
        conflict_tries: attempts of one commit, the first included.
    """

    host: str | None = None
    port: int = Field(8080, ge=1, le=65535)
    scheme: Literal["http", "https"] | None = None
    catalog: str = "iceberg"
    user: str = "sync_pipelines"
    password: SecretStr | None = None
    access_token: SecretStr | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    verify: str = "true"
    roles: str = ""
    client_tags: str = ""
    session_properties: str = ""
    staging_url: str | None = None
    staging_location: str | None = None
    staging_catalog: str = "hive"
    inline_rows: int = Field(2000, ge=0, le=10_000)
    request_timeout_seconds: float = Field(60, gt=0)
    conflict_tries: int = Field(8, ge=1, le=50)


class TrinoSettings(BaseSettings, _Connection):
    """Settings from the environment and `.env`; `.env.example` lists them with their meaning."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_prefix="TRINO_",
        extra="ignore",
        case_sensitive=False,
    )

    catalog: str = Field("iceberg", min_length=1)
    user: str = Field("sync_pipelines", min_length=1)
    maintenance_cron: str = "17 * * * *"
    maintenance_max_small_files: int = Field(10, ge=1)
    maintenance_max_snapshots: int = Field(50, ge=1)
    maintenance_retention: str = Field("7d", pattern=r"^\d+(\.\d+)?[smhd]$")
    maintenance_file_size: str = Field("128MB", pattern=r"^\d+[kMG]B$")


class TrinoOptions(_Connection):
    """One connection: the settings with what a connector sets otherwise; secrets are values here, so never shown.

    Attributes:
        host: name or address of the coordinator.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = Field(min_length=1)

    @property
    def has_credentials(self) -> bool:
        """Something is sent that nobody may overhear."""
        return any((self.password, self.access_token, self.certificate))

    @property
    def effective_scheme(self) -> str:
        """https as soon as there is something to protect."""
        return self.scheme or (
            "https" if self.has_credentials or self.port in (443, 8443) else "http"
        )

    @property
    def location(self) -> str:
        """For messages and metadata, without user."""
        return f"{self.host}:{self.port}/{self.catalog}"


def load_trino_settings() -> TrinoSettings:
    """The settings of this process.

    Raises:
        SettingsError: names the variable, never its value.
    """
    try:
        return TrinoSettings()
    except ValidationError as error:
        raise SettingsError(
            f"The configuration is wrong: {_problems(error, 'TRINO_')}.",
            state="Nothing was started.",
            next_command="compare your environment and .env with .env.example",
        ) from None


def inherited_settings(
    connector_settings: dict[str, Any],
    settings: TrinoSettings,
) -> dict[str, Any]:
    """What a connector takes over from the process: no credentials where it names another server, or another way to
    trust it.
    """
    known = TrinoOptions.model_fields
    values = {
        name: value
        for name, value in settings.model_dump().items()
        if name in known and value is not None
    }
    effective = {**values, **connector_settings}
    asked = {name: effective.get(name) for name in _WHO_IS_ASKED}
    ours = {name: getattr(settings, name) for name in _WHO_IS_ASKED}
    if asked != ours:
        for name in _CREDENTIALS:
            values.pop(name, None)
    return values


def resolve_options(
    connector_settings: dict[str, Any],
    settings: TrinoSettings | None = None,
    outbound: Outbound | None = None,
) -> TrinoOptions:
    """Connection options of a connector.

    Args:
        connector_settings: `bridge.connectors.destination_settings`; password and access_token are references.
        settings: of this process when None.
        outbound: where the secrets of the connector may go; None where no connector of the catalog is meant.

    Raises:
        GuardError: nobody agreed that a secret goes to this Trino.
        SettingsError: no host, or a value that cannot be used.
        SecretMissingError: a reference resolves to nothing.
    """
    settings = settings or load_trino_settings()
    check_connector_options(connector_settings)
    values = inherited_settings(connector_settings, settings)
    for name, value in connector_settings.items():
        if name in _SECRETS and outbound is not None:
            outbound.check_secret(value, trino_origin(connector_settings))
        values[name] = resolve_secret(value) if name in _SECRETS else value
    if not values.get("host"):
        raise SettingsError(
            "No Trino is named for the destination 'trino'.",
            state="Nothing was changed.",
            next_command="set TRINO_HOST, or sync-pipelines connector add … --trino host=…",
        )
    options = _validated(values)
    for secret in (options.password, options.access_token):
        register_secret(secret.get_secret_value() if secret else None)
    return options


def check_connector_options(connector_settings: dict[str, Any]) -> None:
    """Refuse unknown names, wrong values and bare secrets before they are stored.

    Raises:
        SettingsError: says which, without the value.
    """
    for name in _SECRETS:
        if (reference := connector_settings.get(name)) is not None:
            check_reference(str(reference))
    _validated({"host": "unused", **connector_settings})


def _validated(values: dict[str, Any]) -> TrinoOptions:
    try:
        options = TrinoOptions(**values)
    except ValidationError as error:
        known = ", ".join(TrinoOptions.model_fields)
        raise SettingsError(
            f"The Trino settings are wrong: {_problems(error)}; known: {known}.",
            state="Nothing was stored.",
        ) from None
    if options.has_credentials and options.effective_scheme == "http":
        raise SettingsError(
            "Credentials for Trino would travel in the clear over http; use https.",
            state="Nothing was stored.",
        )
    if options.password and options.access_token:
        raise SettingsError(
            "Give Trino a password or an access token, not both.",
            state="Nothing was stored.",
        )
    if bool(options.certificate) != bool(options.certificate_key):
        raise SettingsError(
            "A client certificate needs certificate and certificate_key.",
            state="Nothing was stored.",
        )
    pairs(options.roles, "roles")
    pairs(options.session_properties, "session_properties")
    return options


def pairs(text: str, name: str) -> dict[str, str]:
    """`a=b, c=d` as a mapping.

    Raises:
        SettingsError: a part without `=`.
    """
    found: dict[str, str] = {}
    parts = [part.strip() for part in text.split(",")]
    for part in filter(None, parts):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise SettingsError(
                f"{name} takes name=value, comma separated, not {printable(part, 60)!r}.",
                state="Nothing was stored.",
            )
        found[key.strip()] = value.strip()
    return found


def _problems(error: ValidationError, prefix: str = "") -> str:
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        place = ".".join(map(str, problem["loc"]))
        lines.append(f"{prefix}{place.upper() if prefix else place}: {problem['msg']}")
    return "; ".join(lines)
