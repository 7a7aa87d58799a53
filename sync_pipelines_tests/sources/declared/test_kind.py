"""The test of a connector whose entities a file declares."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.errors import SettingsError
from sync_pipelines.sources.registry import source_kind
from sync_pipelines_tests.declared_world import BEARER, DeclaredWorld


@pytest.mark.parametrize("auth", [BEARER, None], ids=["with a secret", "without"])
def test_settings_that_cannot_be_read_end_the_test_and_are_no_finding_about_secrets(
    declared: DeclaredWorld, auth: dict[str, str] | None
) -> None:
    declared.serve(3)
    declared.apply(declared.declare(auth=auth))
    connector = get_connector(declared.database, "shop")
    damaged = {"host": "http://[", "password": "env:LAKE_PASSWORD"}
    with pytest.raises(SettingsError, match="is no host of a Trino"):
        source_kind(connector).test(
            replace(connector, destination_settings=damaged), declared.settings
        )
    assert declared.requests() == []
