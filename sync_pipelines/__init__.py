"""Discovers REST APIs and keeps a table in PostgreSQL or Trino equal to each of them.

    import sync_pipelines

    sync_pipelines.discover("erp")
    run = sync_pipelines.sync("erp", "items")

Names in `__all__` are the public interface; what else the package holds may change with any version.
A name is imported when it is first used, so that `import sync_pipelines` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sync_pipelines.api import discover, dlt_source, sync
    from sync_pipelines.errors import SyncError
    from sync_pipelines.model.entity import Connector, Entity

__version__: str
__all__ = ["Connector", "Entity", "SyncError", "__version__", "discover", "dlt_source", "sync"]

_HOMES = {
    "Connector": "sync_pipelines.model.entity",
    "Entity": "sync_pipelines.model.entity",
    "SyncError": "sync_pipelines.errors",
    "discover": "sync_pipelines.api",
    "dlt_source": "sync_pipelines.api",
    "sync": "sync_pipelines.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name == "__version__":
        # Reading the metadata of the installation costs more than the rest of this module.
        from importlib.metadata import version

        return version("sync_pipelines")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted({*globals(), *__all__})
