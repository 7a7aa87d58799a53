"""Settings: the names of the source documents, and messages that name the variable and never its value."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import ValidationError

import sync_pipelines.settings
from sync_pipelines import secrets
from sync_pipelines.errors import SettingsError
from sync_pipelines.settings import (
    AlertSettings,
    DatabaseSettings,
    RunSettings,
    ScheduleSettings,
    Settings,
    SourceSettings,
    UiSettings,
    load_settings,
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No environment and no .env of the developer, and no settings remembered."""
    import os

    for name in list(os.environ):
        if name.upper().startswith(
            (
                "POSTGRES_",
                "DB_",
                "API_",
                "MAX_",
                "DEFAULT_",
                "SYNC_",
                "LOG_",
                "APP_",
                "DEBUG",
                "BATCH_",
            )
        ):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(secrets, "_known", set())
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def test_nothing_set_means_the_embedded_database() -> None:
    settings = load_settings()
    assert settings.database.embedded
    with pytest.raises(SettingsError, match="POSTGRES_URL or POSTGRES_HOST"):
        settings.database.server_url()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POSTGRES_PORT", "98765-canary"),
        ("POSTGRES_PORT", "70001"),
        ("DB_PORT", "canary"),
        ("MAX_PAGE_SIZE", "0"),
        ("MAX_PAGE_SIZE", "canary"),
        ("API_TIMEOUT_SECONDS", "-1.25"),
        ("API_TIMEOUT_SECONDS", "nan"),
        ("API_TRIES", "21000"),
        ("SYNC_WORKER_THREADS", "canary"),
        ("DEFAULT_LOOKBACK_SECONDS", "-77"),
        ("MAX_VANISHED_SHARE", "1.375"),
        ("APP_ENV", "canary"),
        ("LOG_LEVEL", "canary"),
        ("POSTGRES_SCHEMA", "bad-canary"),
        ("POSTGRES_SCHEMA", "bridge\n"),
        ("POSTGRES_SSLMODE", "canary"),
        ("DEBUG", "canary"),
        ("ENTITY_WAIT_SECONDS", "canary"),
    ],
)
def test_a_bad_value_is_named_by_its_variable_and_never_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert name.split("_", 1)[-1] in message
    assert len(value) < 2 or value not in message
    assert caught.value.exit_code == 2


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_PAGE_SIZE", "x")
    monkeypatch.setenv("API_TRIES", "x")
    with pytest.raises(SettingsError, match=r"MAX_PAGE_SIZE.*API_TRIES"):
        load_settings()


@pytest.mark.parametrize("prefix", ["POSTGRES", "DB"])
def test_a_server_is_named_in_either_spelling_and_its_url_is_escaped(
    monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    name = "POSTGRES_DB" if prefix == "POSTGRES" else "DB_NAME"
    values = {
        f"{prefix}_HOST": "db.example",
        f"{prefix}_PORT": "6543",
        name: "a/b?c",
        f"{prefix}_USER": "u:s@r",
    }
    for variable, value in {**values, f"{prefix}_PASSWORD": "p@ss/w:rd?#%"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv(f"{prefix}_SSLMODE", "require")
    parts = psycopg.conninfo.conninfo_to_dict(load_settings().database.server_url())
    assert parts == {
        "host": "db.example",
        "port": "6543",
        "dbname": "a/b?c",
        "user": "u:s@r",
        "password": "p@ss/w:rd?#%",
        "sslmode": "require",
    }


def test_passwords_and_tokens_are_known_to_the_redactor_and_to_no_repr(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "canary-password")
    monkeypatch.setenv("API_TOKEN", "canary-token")
    monkeypatch.setenv("POSTGRES_URL", "postgresql://user:canary%2Furl@host/db")
    settings = load_settings()
    assert "canary" not in repr(settings)
    assert "canary" not in secrets.redact("canary-password canary-token canary/url canary%2Furl")


def test_an_odd_url_is_no_reason_to_fail_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "postgresql://[bad/db")
    assert not load_settings().database.embedded


def test_a_blank_url_or_host_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "")
    monkeypatch.setenv("POSTGRES_HOST", "")
    assert load_settings().database.embedded


def test_the_log_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "debug")
    assert load_settings().log_level == "DEBUG"


def test_settings_are_read_from_a_file_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("MAX_PAGE_SIZE=11\nAPI_TRIES=5\nUNKNOWN_VARIABLE=1\n")
    monkeypatch.setenv("API_TRIES", "7")
    settings = load_settings()
    assert (settings.sources.max_page_size, settings.sources.api_tries) == (11, 7)


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_settings()
    monkeypatch.setenv("MAX_PAGE_SIZE", "5")
    assert load_settings() is first
    assert Settings().max_page_size == 5  # type: ignore[call-arg]


GROUPS = {
    "database": DatabaseSettings,
    "sources": SourceSettings,
    "runs": RunSettings,
    "schedule": ScheduleSettings,
    "alerts": AlertSettings,
    "ui": UiSettings,
}


def test_every_setting_is_in_one_group_or_about_the_whole_process() -> None:
    grouped = [name for group in GROUPS.values() for name in group.model_fields]
    assert len(grouped) == len(set(grouped))
    alone = {"app_env", "debug", "home", "gates_folder", "models_folder", "log_level", "log_file"}
    assert set(Settings.model_fields) - set(grouped) == alone


def test_a_group_has_the_values_of_the_whole_and_follows_a_copy() -> None:
    settings = Settings(_env_file=None, lease_seconds=77)
    assert settings.schedule.lease_seconds == 77
    assert settings.model_copy(update={"lease_seconds": 88}).schedule.lease_seconds == 88
    for name, kind in GROUPS.items():
        group = getattr(settings, name)
        assert isinstance(group, kind)
        assert {field: getattr(group, field) for field in kind.model_fields} == {
            field: getattr(settings, field) for field in kind.model_fields
        }
    with pytest.raises(ValidationError):
        settings.schedule.lease_seconds = 1  # type: ignore[misc]


def test_the_product_reads_settings_by_their_group() -> None:
    grouped = {name for group in GROUPS.values() for name in group.model_fields}
    package = Path(sync_pipelines.settings.__file__).parent
    read = [
        f"{path.relative_to(package)}:{node.lineno} {node.attr}"
        for path in package.rglob("*.py")
        if path.name != "settings.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in grouped
        and is_settings(ast.unparse(node.value))
    ]
    assert read == []


def is_settings(owner: str) -> bool:
    """Whether an expression names the settings, and not a group of them or a connector's own."""
    if owner.startswith("connector"):
        return False
    return owner.endswith((".obj", "settings", "settings()", "_settings"))


def test_a_folder_of_models_that_is_named_must_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SYNC_PIPELINES_MODELS", str(tmp_path / "modles"))
    with pytest.raises(SettingsError, match=r"modles, and there is no such folder"):
        _ = load_settings().models
    (tmp_path / "modles").mkdir()
    assert load_settings().models == tmp_path / "modles"
