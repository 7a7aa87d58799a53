"""Files beside the package: .env.example, Makefile, lock, CI."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import tomllib
from pathlib import Path

import yaml
from pydantic import AliasChoices

from sync_pipelines.destinations.trino.options import TrinoSettings
from sync_pipelines.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = (ROOT / ".env.example").read_text()
DAGSTER_VARIABLES = {
    "SYNC_PIPELINES_DAGSTER_URL",
    "SYNC_PIPELINES_EXECUTOR",
    "SYNC_PIPELINES_MAX_RUNS",
}


def names_of_settings():
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name.upper()]
        yield field, [str(choice) for choice in choices]


def names_of_trino_settings():
    for name, field in TrinoSettings.model_fields.items():
        yield field, [f"TRINO_{name.upper()}"]


def secrets_of_shipped_connectors():
    """But for processgit's API_TOKEN, which is another name of a setting."""
    files = (ROOT / "sync_pipelines" / "connectors").glob("*.yaml")
    return {
        name for file in files for name in re.findall(r"default: env:(\w+)", file.read_text())
    } - {"API_TOKEN"}


def test_example_names_every_setting_and_nothing_else():
    shown = set(re.findall(r"^#([A-Za-z_]+)=", EXAMPLE, re.MULTILINE))
    ours = itertools.chain(names_of_settings(), names_of_trino_settings())
    of_containers = set(
        re.findall(r"\$\{(STORAGE_\w+?):", (ROOT / "docker-compose.yml").read_text())
    )
    assert (
        shown
        == {names[0] for _, names in ours}
        | DAGSTER_VARIABLES
        | secrets_of_shipped_connectors()
        | of_containers
    )


def test_example_names_every_alias_above_its_setting():
    for _, (name, *aliases) in names_of_settings():
        block = EXAMPLE[: EXAMPLE.index(f"\n#{name}=")].rsplit("\n\n", 1)[1]
        for alias in aliases:
            assert f"[{alias}]" in block, alias


def test_example_shows_the_defaults():
    shown = dict(re.findall(r"^#([A-Za-z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    for field, (name, *_) in itertools.chain(names_of_settings(), names_of_trino_settings()):
        default = (
            ""
            if field.default is None
            else str(field.default).lower()
            if isinstance(field.default, bool)
            else str(field.default)
        )
        assert shown[name] == default, name


def test_example_with_every_line_uncommented_is_valid(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.upper().startswith(
            ("POSTGRES_", "DB_", "API_", "DEFAULT_", "SYNC_", "LOG_", "TRINO_")
        ):
            monkeypatch.delenv(name)
    lines = [line[1:] for line in EXAMPLE.splitlines() if re.match(r"#[A-Za-z_]+=.+", line)]
    (tmp_path / ".env").write_text("\n".join(lines))
    assert Settings(_env_file=tmp_path / ".env") == Settings(_env_file=None)
    assert TrinoSettings(_env_file=tmp_path / ".env") == TrinoSettings(_env_file=None)


def test_lock_pins_everything_and_names_no_host_or_path():
    pinned = (ROOT / "requirements.lock").read_text().replace(" \\\n", "").splitlines()
    package = r"[a-z0-9][a-z0-9._-]*(\[[a-z0-9,-]+\])?==[^\s/@]+( ; [^/@]+?)?"
    assert len(pinned) > 100
    assert [
        line
        for line in pinned
        if not re.fullmatch(package + r"( +--hash=sha256:[0-9a-f]{64})+", line)
    ] == []


def test_nothing_is_installed_without_its_hash():
    for name in ("Makefile", "Dockerfile"):
        lines = [
            line
            for line in (ROOT / name).read_text().splitlines()
            if re.search(r"-r requirements[\w-]*\.lock", line)
        ]
        assert lines
        assert all("--require-hashes" in line for line in lines), name
    [lock] = re.findall(r"pip compile (?:.*\\\n)*.*", (ROOT / "Makefile").read_text())
    assert "--generate-hashes" in lock
    assert {"--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate"} <= set(
        lock.split()
    )


def test_make_lists_its_targets():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("venv", "demo", "demo-trino", "trino", "up", "test", "check", "lock", "clean"):
        assert f"make {target} " in listed


def test_ci_runs_the_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    lines = script.read_text().splitlines()
    assert lines.index("make check") < lines.index(
        "REQUIRE_BROWSER=1 REQUIRE_TRINO=1 COVERAGE=1 make test"
    )


def test_pre_commit_runs_the_commands_of_make_check():
    [recipe] = re.findall(
        r"^check: .*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    checked = [line.strip().replace("$(BIN)/", ".venv/bin/") for line in recipe.splitlines()]
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"] for hook in repository["hooks"]] == checked
    assert [line.split()[0].removeprefix(".venv/bin/") for line in checked] == [
        "ruff",
        "ruff",
        "mypy",
        "complexipy",
    ]


def test_the_gate_is_strict():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert tools["mypy"]["strict"] is True
    assert tools["mypy"]["plugins"] == ["pydantic.mypy"]
    lint = tools["ruff"]["lint"]
    assert tools["ruff"]["line-length"] == 100, "of the layout"
    assert lint["pycodestyle"]["max-line-length"] == 120, "of a text that does not break well"
    assert "E501" not in lint["ignore"]
    assert not [path for path, rules in lint["per-file-ignores"].items() if "E501" in rules]
    assert tools["complexipy"]["max-complexity-allowed"] == 15
    assert tools["coverage"]["report"]["fail_under"] >= 80
