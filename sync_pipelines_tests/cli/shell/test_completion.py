"""A shell completes connectors and entities, and never shows an error."""

from __future__ import annotations

from typer.testing import CliRunner

from sync_pipelines.cli.main import app
from sync_pipelines.cli.shell.completion import complete_connectors, complete_paths
from sync_pipelines.settings import load_settings


def test_connectors_and_their_entities_are_completed(cli, world):
    world.add_items(1)
    world.add_items(1, slug="orders")
    load_settings.cache_clear()
    assert complete_connectors("e") == ["erp"]
    assert complete_paths("erp/") == ["erp/items", "erp/orders"]
    assert complete_paths("erp/o") == ["erp/orders"]
    assert complete_paths("nobody") == []


def test_the_shell_asks_and_is_answered(cli, world):
    world.add_items(1)
    load_settings.cache_clear()
    variables = {
        "_SYNC_PIPELINES_COMPLETE": "complete_bash",
        "COMP_WORDS": "sync-pipelines sync erp/",
        "COMP_CWORD": "2",
    }
    answer = CliRunner().invoke(app, [], env=variables, prog_name="sync-pipelines")
    assert "erp/items" in answer.stdout


def test_without_a_catalog_nothing_is_completed_and_nothing_is_said(
    environment, monkeypatch, tmp_path, capfd
):
    load_settings.cache_clear()
    assert complete_paths("e") == []
    assert list(tmp_path.iterdir()) == []
    for name, value in (
        ("POSTGRES_URL", "postgresql://me:x@127.0.0.1:9/x"),
        ("POSTGRES_PORT", "wrong"),
    ):
        monkeypatch.setenv(name, value)
        load_settings.cache_clear()
        assert complete_paths("e") == []
    assert capfd.readouterr().err == ""
