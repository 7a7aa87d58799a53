"""Say which extra of the package is missing, before a module that needs it is imported."""

from __future__ import annotations

from importlib.util import find_spec

from sync_pipelines.errors import ConfigurationError


def require_extra(extra: str, *modules: str) -> None:
    """Make sure that the packages of an extra are installed.

    Args:
        extra: its name in pyproject.toml.
        modules: top-level modules that it brings.

    Raises:
        ConfigurationError: names the missing ones and the command that installs them.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ConfigurationError(
            f"This needs {' and '.join(missing)}, which the extra `{extra}` of the package brings.",
            state="Nothing was started.",
            next_command=f'pip install "sync_pipelines[{extra}]"',
        )
