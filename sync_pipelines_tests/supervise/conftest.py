"""The fixtures of a running Dagster serve the supervision of its processes, too."""

from __future__ import annotations

from sync_pipelines_tests.orchestrate.conftest import module_world

__all__ = ["module_world"]
