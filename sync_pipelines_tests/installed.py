"""The package as a stranger has it: a wheel, installed into an environment without this folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the sources, so that nothing is written beside them."""
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, source)
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(PROJECT / "sync_pipelines", source / "sync_pipelines", ignore=leave_out)
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--quiet",
        "--wheel-dir",
        str(folder / "dist"),
    ]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, timeout=300
    )
    shutil.rmtree(source)
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


def install(wheel: Path, environment: Path) -> Path:
    """Install the wheel into a fresh environment and return the folder of its commands.

    The dependencies are those of this environment, by a path file. The package itself is not:
    Python does not read the path files of a folder that a path file adds.
    """
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=120
    )
    python = environment / "bin" / "python"
    options = ["--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", *options, str(wheel)], check=True, timeout=300)
    [packages] = (environment / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the package, built once."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the commands of an environment that has the wheel."""
    yield install(wheel, tmp_path_factory.mktemp("installed") / "venv")
