"""Fault 43: what people and sources hand to us."""

import ast
from pathlib import Path

import dagster as dg
import pytest

import sync_pipelines
from sync_pipelines.downstream.sql_model import parse_model
from sync_pipelines.errors import SecretMissingError, SettingsError
from sync_pipelines.orchestrate.assets import SYNC_CONFIG
from sync_pipelines.settings import load_settings
from sync_pipelines_tests.faults.helpers import configure, healed, refused
from sync_pipelines_tests.test_lost_connections import changed_items
from sync_pipelines_tests.world import World

UNSAFE = {"pickle", "marshal", "shelve", "lxml"}
# Names that build nothing from what they read, and those of the reader that refuses entities.
OF_YAML = {
    *("SafeLoader", "parse", "compose", "safe_dump", "constructor", "reader", "YAMLError"),
    *(
        "AliasEvent",
        "CollectionStartEvent",
        "CollectionEndEvent",
        "Node",
        "NodeEvent",
        "SequenceNode",
        "ScalarNode",
    ),
}
OF_XML = {"Element", "ParseError", "TreeBuilder"}


def test_fault_43_input_that_is_a_trap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    table = changed_items(world)
    with monkeypatch.context() as patch:
        patch.setenv("TWIN_TOKEN", "canary\r\nX-Evil: 1")
        assert "canary" not in str(refused(world, SecretMissingError))
        patch.setenv("POSTGRES_SCHEMA", "bridge\nx-canary")
        load_settings.cache_clear()
        with pytest.raises(SettingsError, match="POSTGRES_SCHEMA") as caught:
            load_settings()
        assert "canary" not in str(caught.value)
    load_settings.cache_clear()
    for limits in ({"is_admin": True}, {"tries": "many"}, {"tries": 10**9}, {"max_page_bytes": -1}):
        with pytest.raises(SettingsError, match=next(iter(limits))):
            configure(world, **limits)
    # Members of a description that are ours to decide are ignored.
    table.extra = {
        "target_schema": "pg_catalog",
        "target_table": "pg_class",
        "last_rowversion": "9999",
        "sync_enabled": False,
    }
    before = world.entity()
    world.discover()
    assert world.entity() == before
    for sql in (
        "SELECT 1; DROP TABLE erp.items",
        "DELETE FROM erp.items",
        "-- materialized: x\nSELECT 1",
        "-- run: rm\nSELECT 1",
    ):
        with pytest.raises(SettingsError, match="reports/evil.sql"):
            parse_model(Path("reports/evil.sql"), sql)
    with pytest.raises(dg.DagsterInvalidConfigError):
        dg.materialize(
            [asset_with_config()], run_config={"ops": {"one": {"config": {"is_admin": True}}}}
        )
    assert imported_modules() & UNSAFE == set(), "a loader that runs what it reads"
    assert names_used_of("yaml") == OF_YAML
    assert names_used_of("xml") == OF_XML, "but for these, XML is read by defusedxml"
    healed(world)


def asset_with_config() -> dg.AssetsDefinition:
    @dg.asset(config_schema=SYNC_CONFIG)
    def one() -> None:
        raise AssertionError("the config was accepted")

    return one


def names_used_of(module: str) -> set[str]:
    """What sync_pipelines takes from a module and uses of it."""
    found: set[str] = set()
    for path in Path(sync_pipelines.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == module:
                found |= {alias.name for alias in node.names}
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == module
            ):
                found.add(node.attr)
    return found


def imported_modules() -> set[str]:
    """The outermost names of all that sync_pipelines imports."""
    found = set()
    for path in Path(sync_pipelines.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found
