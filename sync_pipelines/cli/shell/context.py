"""What every command starts from: settings, and the paths people type."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from sync_pipelines.dotenv_file import load_dotenv_file
from sync_pipelines.errors import SettingsError
from sync_pipelines.files.private import keep_new_files_private
from sync_pipelines.logs import set_up_logging
from sync_pipelines.model.names import check_connector_name
from sync_pipelines.secrets import register_secret
from sync_pipelines.settings import Settings, load_settings

DEMO_TOKEN_VARIABLE = "SYNC_PIPELINES_DEMO_TOKEN"
TOKEN_FILE = "token"


def prepare() -> Settings:
    """Read `.env` and the settings, set up logging; called once per command.

    `.env` goes into the environment, so that `env:NAME` references and child processes see it, too.
    """
    keep_new_files_private()
    load_dotenv_file()
    load_settings.cache_clear()
    settings = load_settings()
    set_up_logging(settings)
    register_secret(
        settings.database.postgres_url.get_secret_value()
        if settings.database.postgres_url
        else None
    )
    load_demo_token(settings.home)
    return settings


def load_demo_token(home: Path) -> None:
    """In a demo's home, let `env:SYNC_PIPELINES_DEMO_TOKEN` resolve."""
    if DEMO_TOKEN_VARIABLE in os.environ:
        return
    try:
        os.environ[DEMO_TOKEN_VARIABLE] = (home / TOKEN_FILE).read_text().strip()
    except OSError:
        logging.getLogger(__name__).debug("no demo token in %s", home)


def split_path(path: str) -> tuple[str, str | None]:
    """`connector/entity` or `connector` in its parts.

    Raises:
        SettingsError: neither of them.
    """
    connector, slash, slug = path.partition("/")
    check_connector_name(connector)
    return connector, (slug if slash else None)


def split_entity_path(path: str) -> tuple[str, str]:
    """`connector/entity` in its parts.

    Raises:
        SettingsError: the entity is missing.
    """
    connector, slug = split_path(path)
    if not slug:
        raise SettingsError(
            f"{path!r} names a connector; an entity is named connector/entity.",
            state="Nothing was changed.",
            next_command=f"sync-pipelines entities {connector}",
        )
    return connector, slug
