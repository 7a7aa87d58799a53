"""Definitions of the test's own catalog."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from sync_pipelines.orchestrate.location import build_definitions


@pytest.fixture
def definitions(environment: dict[str, str]) -> Callable[[], dg.Definitions]:
    """Load the definitions afresh, as a new process would."""
    return build_definitions
