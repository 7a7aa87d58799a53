"""Configuration from the environment and `.env`, under the names of the source documents (S1, S2)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote, unquote, urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sync_pipelines.errors import SettingsError
from sync_pipelines.model.limits import MAX_KEPT_RECORD_BYTES, MAX_RECORD_BYTES
from sync_pipelines.network.addresses import IpNetwork
from sync_pipelines.network.outbound_settings import parse_private_origins, parse_secret_origins
from sync_pipelines.secrets import register_secret


class DatabaseSettings(BaseModel):
    """The PostgreSQL of catalog and tables; embedded unless POSTGRES_URL or POSTGRES_HOST names a server."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    postgres_url: SecretStr | None = None
    postgres_host: str | None = Field(
        None,
        validation_alias=AliasChoices("POSTGRES_HOST", "DB_HOST"),
    )
    postgres_port: int = Field(
        5432,
        validation_alias=AliasChoices("POSTGRES_PORT", "DB_PORT"),
        ge=1,
        le=65535,
    )
    postgres_db: str = Field(
        "bridge_v2_db",
        validation_alias=AliasChoices("POSTGRES_DB", "DB_NAME"),
        min_length=1,
    )
    postgres_user: str = Field(
        "bridge_user",
        validation_alias=AliasChoices("POSTGRES_USER", "DB_USER"),
    )
    postgres_password: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("POSTGRES_PASSWORD", "DB_PASSWORD"),
    )
    postgres_sslmode: (
        Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None
    ) = Field(None, validation_alias=AliasChoices("POSTGRES_SSLMODE", "DB_SSLMODE"))
    postgres_sslrootcert: str | None = None
    postgres_schema: str = Field("bridge", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    postgres_kept_connections: int = Field(4, ge=0, le=100)

    @property
    def embedded(self) -> bool:
        """True when no server is named, so that the embedded PostgreSQL is used."""
        return self.postgres_url is None and self.postgres_host is None

    def server_url(self) -> str:
        """The libpq URL of the named server, with its password; never show it.

        Raises:
            SettingsError: when no server is named.
        """
        if self.postgres_url is not None:
            return self.postgres_url.get_secret_value()
        if self.postgres_host is None:
            raise SettingsError("No PostgreSQL server is named: set POSTGRES_URL or POSTGRES_HOST.")
        password = (
            f":{quote(self.postgres_password.get_secret_value(), safe='')}"
            if self.postgres_password
            else ""
        )
        query = f"?sslmode={self.postgres_sslmode}" if self.postgres_sslmode else ""
        return (
            f"postgresql://{quote(self.postgres_user, safe='')}{password}@{self.postgres_host}:{self.postgres_port}"
            f"/{quote(self.postgres_db, safe='')}{query}"
        )


class SourceSettings(BaseModel):
    """What sources are asked for, how patiently, and where secrets may go."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    default_apismith_url: str | None = Field(
        None,
        validation_alias=AliasChoices("DEFAULT_APISmith_URL", "API_BASE_URL"),
    )
    default_apismith_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("DEFAULT_APISmith_TOKEN", "API_TOKEN"),
    )
    secret_origins: str = ""
    allowed_private_origins: str = ""
    max_page_size: int = Field(1000, ge=1, le=100_000)
    max_pages: int = Field(1_000_000, ge=1)
    api_timeout_seconds: float = Field(30, gt=0)
    api_tries: int = Field(3, ge=1, le=20)
    max_page_bytes: int = Field(256 * 1024 * 1024, ge=1024)
    max_document_bytes: int = Field(32 * 1024 * 1024, ge=1024)

    @property
    def bound_secrets(self) -> tuple[tuple[str, str], ...]:
        """SECRET_ORIGINS: variables with the origins that they may go to."""
        return parse_secret_origins(self.secret_origins)

    @property
    def private_origins(self) -> tuple[frozenset[str], tuple[IpNetwork, ...]]:
        """ALLOWED_PRIVATE_ORIGINS: origins and hosts, and networks."""
        return parse_private_origins(self.allowed_private_origins)


class RunSettings(BaseModel):
    """How much a run takes at once and in all, and what it may delete."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    default_lookback_seconds: int = Field(60, ge=0)
    max_vanished_share: float = Field(0.5, ge=0, le=1)
    sync_worker_threads: int = Field(4, ge=1, le=256)
    batch_rows: int = Field(20_000, ge=1, le=1_000_000)
    max_record_bytes: int = Field(
        MAX_RECORD_BYTES,
        ge=1024,
        le=MAX_KEPT_RECORD_BYTES,
    )
    batch_bytes: int = Field(64 * 1024 * 1024, ge=1024)
    max_run_rows: int = Field(1_000_000_000, ge=1)
    max_run_bytes: int = Field(1024**4, ge=1024)
    max_run_seconds: float = Field(86_400, gt=0)
    max_process_memory_bytes: int = Field(0, ge=0)
    min_free_disk_bytes: int = Field(512 * 1024 * 1024, ge=0)
    entity_wait_seconds: float = Field(10, ge=0)
    max_destination_writers: int = Field(8, ge=1)


class ScheduleSettings(BaseModel):
    """When entities are due, and how long history is kept."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    default_sync_interval_seconds: int = Field(300, ge=1)
    purge_dagster_runs_after_days: int = Field(14, ge=1, le=36_500)
    purge_sync_runs_after_days: int = Field(90, ge=1, le=36_500)
    default_sync_cron: str = ""
    default_full_refresh_cron: str = "H 3 * * *"
    default_discovery_cron: str = "H * * * *"
    schedule_time_zone: str = "UTC"
    max_entities_per_run: int = Field(100, ge=1, le=1000)
    due_sensor_seconds: int = Field(10, ge=1)
    probe_interval_seconds: float = Field(30, gt=0)
    lease_seconds: float = Field(300, ge=5)


class AlertSettings(BaseModel):
    """What counts as an incident, and where it is announced."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    freshness_grace_seconds: int = Field(60, ge=0)
    alert_interval_seconds: int = Field(30, ge=5)
    alert_consecutive_failures: int = Field(3, ge=1)
    alert_duration_seconds: int = Field(600, ge=1)
    alert_failure_rate: float = Field(0.05, ge=0, le=1)
    alert_failure_window_seconds: int = Field(3600, ge=60)
    alert_failure_min_runs: int = Field(20, ge=1)
    alert_response_seconds: float = Field(10, gt=0)
    alert_rejection_rate: float = Field(0.2, ge=0, le=1)
    alert_rejection_min_records: int = Field(10, ge=1)
    rejected_severity: Literal["warn", "error"] = "error"
    alert_connection_share: float = Field(0.9, gt=0, le=1)
    alert_freshness: Literal["late", "error"] = "error"
    alert_close_after_seconds: int = Field(300, ge=0)
    alert_group_above: int = Field(5, ge=1)
    alert_webhook_timeout_seconds: float = Field(10, gt=0, le=30)
    alert_webhook_tries: int = Field(12, ge=1, le=100)
    alert_webhook_backoff_seconds: float = Field(10, gt=0)
    alert_silence_seconds: int = Field(180, ge=0)
    alert_heartbeat_file: Path | None = None
    alert_heartbeat_url: SecretStr | None = None


class UiSettings(BaseModel):
    """Where Dagster, its storage and its web server are, and what they show."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    sync_owners: str = "team:data-engineering"
    ui_url: str | None = Field(
        None,
        validation_alias="DAGSTER_UI_URL",
        pattern=r"^https?://[^\s@?#]+$",
    )
    dagster_url: SecretStr | None = Field(None, validation_alias="SYNC_PIPELINES_DAGSTER_URL")
    dagster_webserver_url: SecretStr | None = Field(None, validation_alias="DAGSTER_WEBSERVER_URL")
    ui_hosts: str = Field("", validation_alias="SYNC_PIPELINES_UI_HOSTS")
    code_server: str | None = Field(
        None,
        validation_alias="SYNC_PIPELINES_CODE_SERVER",
        pattern=r"^(unix:/.+|[^\s/:]+:\d+)$",
    )
    connectors: str = Field("", validation_alias="SYNC_PIPELINES_CONNECTORS")

    @property
    def owners(self) -> list[str]:
        """Owners of the assets: `team:name` or mail addresses."""
        return [owner.strip() for owner in self.sync_owners.split(",") if owner.strip()]

    @property
    def connector_names(self) -> tuple[str, ...]:
        """The connectors this code location is restricted to; none means all."""
        return tuple(sorted({name.strip() for name in self.connectors.split(",") if name.strip()}))

    @property
    def ui_host_names(self) -> tuple[str, ...]:
        """Names, with a port where there is one, by which browsers and our own processes ask the web server."""
        named = [name.strip() for name in self.ui_hosts.split(",") if name.strip()]
        addresses = [
            self.ui_url,
            self.dagster_webserver_url.get_secret_value() if self.dagster_webserver_url else None,
        ]
        named += [urlsplit(address).netloc.rpartition("@")[2] for address in addresses if address]
        return tuple(dict.fromkeys(named))


_Group = TypeVar("_Group", bound=BaseModel)


def _group(kind: type[_Group], settings: BaseModel) -> _Group:
    """The settings of one group; they were validated before."""
    return kind.model_construct(**{name: getattr(settings, name) for name in kind.model_fields})


class Settings(
    BaseSettings,
    DatabaseSettings,
    SourceSettings,
    RunSettings,
    ScheduleSettings,
    AlertSettings,
    UiSettings,
):
    """Every setting; `.env.example` lists them with their meaning.

    They are set by name, in the environment and here, and read by group: `settings.schedule.lease_seconds`.
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        case_sensitive=False,
        populate_by_name=True,
    )

    app_env: Literal["development", "test", "production"] = "development"
    debug: bool = False
    home: Path = Field(Path(".sync_pipelines"), validation_alias="SYNC_PIPELINES_HOME")
    gates_folder: Path | None = Field(None, validation_alias="SYNC_PIPELINES_GATES")
    models_folder: Path | None = Field(None, validation_alias="SYNC_PIPELINES_MODELS")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_file: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave out HOME: `populate_by_name` would take the user's folder for the field `home`."""
        for source in (env_settings, dotenv_settings):
            assert isinstance(source, EnvSettingsSource)
            source.env_vars = {
                name: value for name, value in source.env_vars.items() if name.lower() != "home"
            }
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator(
        "postgres_url",
        "postgres_host",
        "postgres_sslmode",
        "postgres_sslrootcert",
        "default_apismith_url",
        "ui_url",
        "log_file",
        "gates_folder",
        "models_folder",
        "dagster_url",
        "dagster_webserver_url",
        "alert_heartbeat_file",
        "alert_heartbeat_url",
        "code_server",
        mode="before",
    )
    @classmethod
    def _blank_is_unset(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("secret_origins")
    @classmethod
    def _names_origins(cls, value: str) -> str:
        parse_secret_origins(value)
        return value

    @field_validator("allowed_private_origins")
    @classmethod
    def _names_places(cls, value: str) -> str:
        parse_private_origins(value)
        return value

    @property
    def database(self) -> DatabaseSettings:
        """The PostgreSQL of catalog and tables; embedded unless POSTGRES_URL or POSTGRES_HOST names a server."""
        return _group(DatabaseSettings, self)

    @property
    def sources(self) -> SourceSettings:
        """What sources are asked for, how patiently, and where secrets may go."""
        return _group(SourceSettings, self)

    @property
    def runs(self) -> RunSettings:
        """How much a run takes at once and in all, and what it may delete."""
        return _group(RunSettings, self)

    @property
    def schedule(self) -> ScheduleSettings:
        """When entities are due, and how long history is kept."""
        return _group(ScheduleSettings, self)

    @property
    def alerts(self) -> AlertSettings:
        """What counts as an incident, and where it is announced."""
        return _group(AlertSettings, self)

    @property
    def ui(self) -> UiSettings:
        """Where Dagster, its storage and its web server are, and what they show."""
        return _group(UiSettings, self)

    @property
    def gates(self) -> Path:
        """The folder of the gates: SYNC_PIPELINES_GATES, or `gates` in the home."""
        return self.gates_folder or self.home / "gates"

    @property
    def models(self) -> Path:
        """The folder of the SQL models: SYNC_PIPELINES_MODELS, or `dbt_like_sql` in the working directory.

        Raises:
            SettingsError: the named folder is not there.
        """
        folder = (self.models_folder or Path("dbt_like_sql")).expanduser().absolute()
        if self.models_folder is not None and not folder.is_dir():
            raise SettingsError(
                f"SYNC_PIPELINES_MODELS names {folder}, and there is no such folder.",
                state="Nothing was started.",
                next_command="make the folder, or take the variable out of the environment and .env",
            )
        return folder


def _password_of(url: str) -> str | None:
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return None


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """Read the settings once per process.

    Raises:
        SettingsError: names the variable, what is wrong with it, and never its value.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(
            f"The configuration is wrong: {problems}.",
            state="Nothing was started.",
            next_command="compare your environment and .env with .env.example",
        ) from None
    for secret in (settings.database.postgres_password, settings.sources.default_apismith_token):
        register_secret(secret.get_secret_value() if secret else None)
    for url in (
        settings.database.postgres_url,
        settings.ui.dagster_url,
        settings.ui.dagster_webserver_url,
    ):
        if url is not None:
            register_secret(_password_of(url.get_secret_value()))
    return settings
