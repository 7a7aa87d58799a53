"""`sync-pipelines up`: source of the demo, database, code server, web server and daemon together."""

from __future__ import annotations

import contextlib
import signal
import socket
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import psutil
import typer

from sync_pipelines.catalog.connectors import list_connectors
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.opening import open_migrated
from sync_pipelines.cli.commands.defaults import register_default
from sync_pipelines.cli.shell.dagster_processes import (
    CODE_SOCKET,
    WebServers,
    await_graphql,
    start_dagster,
)
from sync_pipelines.cli.shell.homes import Home, dagster_storage, demo_home, own_home, python_module
from sync_pipelines.cli.shell.output import examples, say
from sync_pipelines.cli.shell.problems import Problems
from sync_pipelines.cli.shell.processes import Children, ended_error, interruptible, sole_user
from sync_pipelines.cli.shell.progress import step
from sync_pipelines.errors import ConfigurationError, SettingsError, SyncError
from sync_pipelines.model.entity import Connector
from sync_pipelines.orchestrate.guard_hosts import parse_listed
from sync_pipelines.orchestrate.reload import write_endpoint
from sync_pipelines.postgres_server.embedded import embedded_pid, release_embedded
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings
from sync_pipelines.supervise.ping import target_of

DATABASE_GONE_SECONDS = 10
SERVER_STOP_SECONDS = 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "up", "up --port 3001", "up --publish 0.0.0.0:3001 --allowed-host data.example.com"
        )
    )(up)


def up(
    context: typer.Context,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the UI.")] = 3000,
    host: Annotated[
        str, typer.Option(help="Address of the UI. It has no login: keep it on loopback.")
    ] = "127.0.0.1",
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo",
            help="The demo's database and source, or your own; by default yours when it has a connector.",
        ),
    ] = None,
    publish: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve a second UI here that shows everything and changes nothing, for others to see.",
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:PORT]",
            help="A further name by which browsers ask for the UI, for example that of a proxy.",
        ),
    ] = None,
) -> None:
    """Run everything until Ctrl-C: database, Dagster's code server, web server and daemon, and the demo's source."""
    ui = WebServers(host, port, _published(publish), tuple(allowed_host or ()))
    for address in (*ui.allowed_hosts, *context.obj.ui.ui_host_names):
        parse_listed(address)
    if host not in LOOPBACK:
        say(
            f"Warning: the UI has no login and is about to be reachable at {host}; --publish {host}:{port + 1}"
            " serves one that only shows.",
            "yellow",
            stderr=True,
        )
    _check_port(host, port)
    if ui.published:
        _check_port(*ui.published)
    home = _chosen_home(context.obj, demo)
    with interruptible(), sole_user(home.lock, f"The home {home.root}"):
        try:
            _serve(context.obj, home, ui)
        except KeyboardInterrupt:
            say("Stopped.", stderr=True)


def _published(address: str | None) -> tuple[str, int] | None:
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise SettingsError(
            f"--publish {address!r} is no HOST:PORT.",
            state="Nothing was started.",
            next_command="sync-pipelines up --publish 0.0.0.0:3001",
        )
    return host.strip("[]"), int(port)


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"{host}:{port} cannot be used: {error.strerror or error}.",
                state="Nothing was started.",
                next_command=f"sync-pipelines up --port {port + 1}",
            ) from None


def _chosen_home(settings: Settings, wanted: bool | None) -> Home:
    own = own_home(settings)
    demos = demo_home(settings)
    if wanted and not demos.is_demo:
        raise ConfigurationError(
            "No demo was run here yet.",
            state="Nothing was started.",
            next_command="sync-pipelines demo",
        )
    if wanted is False or not demos.is_demo:
        return own
    if wanted or not settings.database.embedded:
        return demos
    if settings.sources.default_apismith_url is not None:
        return own
    return own if _has_connectors(settings, own) else demos


def _has_connectors(settings: Settings, home: Home) -> bool:
    if not (home.postgres / "PG_VERSION").exists():
        return False
    database = open_migrated(home.settings(settings))
    return bool(list_connectors(database))


def _serve(settings: Settings, home: Home, ui: WebServers) -> None:
    settings = home.settings(settings)
    if home.is_demo:
        # Before the environment of the children is made: runs resolve the reference, too.
        home.read_token()
    with (
        contextlib.ExitStack() as last,
        tempfile.TemporaryDirectory(prefix="sync_pipelines_") as runtime,
        Children(home.environment(home.prepare_dagster()), home.logs) as children,
    ):
        if settings.database.embedded:
            last.callback(release_embedded, home.postgres)
        message = "Bring the catalog up to date"
        if settings.database.embedded:
            message = "Start PostgreSQL and bring the catalog up to date"
        with step(message):
            database = _open(settings)
            server = _server_process(settings, home)
            last.pop_all()
            last.callback(_stop_server, home, server, _identity(home.postgres))
            register_default(database, settings)
            children.environment |= dagster_storage(database)
        identity = _identity(home.root)
        connectors = list_connectors(database)
        if not connectors:
            raise ConfigurationError(
                "There is no connector yet, so there is nothing to show.",
                state="Nothing was started.",
                next_command="sync-pipelines demo, or sync-pipelines connector add NAME URL --token env:NAME",
            )
        if home.is_demo:
            _resume_demo(children, home, connectors)
        with step("Bring Dagster's storage up to date"):
            _upgrade_storage(children)
        with step("Start Dagster"):
            start_dagster(children, Path(runtime), ui)
            await_graphql(children, ui.url)
        # Outside of Dagster: it notices when code server or daemon are dead, which the sensor in them cannot.
        alerts = python_module("sync_pipelines.cli.main", "alerts", "watch")
        children.start("alerts", alerts)
        code_socket = Path(runtime) / CODE_SOCKET
        target = target_of(socket=str(code_socket))
        endpoint = write_endpoint(home.root, ui.local_url, target, ui.local_published_url)
        try:
            hint = f"Ctrl-C stops everything; logs in {home.logs}"
            say(f"Dagster is at {ui.url}   ({hint})", "bold green")
            if ui.published_url:
                say(f"For others to see, read-only: {ui.published_url}", "green")
            _watch(children, home, server, identity)
        finally:
            endpoint.unlink(missing_ok=True)


def _resume_demo(children: Children, home: Home, connectors: list[Connector]) -> None:
    """Start the source of the demo again, unless its connector was removed."""
    # Deferred: the demo is an extra, which an installation may do without.
    from sync_pipelines.demo.demo import NAME
    from sync_pipelines.demo.source_process import resume_source

    if any(connector.name == NAME for connector in connectors):
        with step("Start the demo's source"):
            resume_source(children, home)


def _open(settings: Settings) -> Database:
    try:
        return open_migrated(settings)
    except SyncError as error:
        error.leaves("Nothing was started.")
        raise


def _upgrade_storage(children: Children) -> None:
    """Migrate in a child process: this one stays small, and a failure shows as that of a child."""
    upgrade = children.start("migrate", python_module("sync_pipelines.cli.main", "migrate"))
    if upgrade.wait():
        raise ended_error(upgrade)
    children.all.remove(upgrade)


def _watch(
    children: Children, home: Home, server: psutil.Process | None, identity: tuple[int, int] | None
) -> None:
    """Look after the processes until one ends.

    The code server is looked after by its own supervisor, which starts it again a bounded number of times and
    writes that into its log, whose problems are shown here. Nothing else is ever started again behind one's back.

    Args:
        children: all that was started.
        home: where they work.
        server: the embedded PostgreSQL; None when another one is used.
        identity: of the home, as it was when the database was started.

    Raises:
        SyncError: a child or the embedded PostgreSQL has ended, with its last lines, or the home is gone.
    """
    seen_at = time.monotonic()
    incidents: set[str] = set()
    problems: dict[str, Problems] = defaultdict(lambda: Problems(incidents))
    while True:
        # A process that was about to write may have made the folder anew.
        if _identity(home.root) != identity:
            raise _home_gone(home)
        children.check()
        for child in children.all:
            for line in problems[child.name].of(child.new_lines()):
                say(f"{child.name}: {line}", "red", stderr=True)
            child.rotate_log()
        # Another process that found none may have started it again, which is behind one's back, too.
        if server is None or embedded_pid(home.postgres) == server.pid:
            seen_at = time.monotonic()
        elif time.monotonic() - seen_at > DATABASE_GONE_SECONDS:
            raise _database_ended(home)
        time.sleep(0.5)


def _home_gone(home: Home) -> SyncError:
    return SyncError(
        f"The home {home.root} was moved or removed while it was in use.",
        state="Everything that was started in it is stopped, the database too.",
        next_command="set SYNC_PIPELINES_HOME to where it is now, then sync-pipelines up",
    )


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode of a folder, which another one of the same name does not share; None when it is not there."""
    with contextlib.suppress(OSError):
        found = folder.stat()
        return found.st_dev, found.st_ino
    return None


def _stop_server(
    home: Home, server: psutil.Process | None, identity: tuple[int, int] | None
) -> None:
    """Give the embedded PostgreSQL back.

    When its folder is not where it was, nobody can use the server any more, so it is stopped.
    """
    if server is None:
        return
    if _identity(home.postgres) == identity:
        release_embedded(home.postgres)
        return
    _end_server(server)
    made_anew = embedded_pid(home.postgres)
    if made_anew is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            _end_server(psutil.Process(made_anew))


def _end_server(server: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        server.send_signal(signal.SIGINT)
        try:
            server.wait(SERVER_STOP_SECONDS)
        except psutil.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)


def _server_process(settings: Settings, home: Home) -> psutil.Process | None:
    pid = embedded_pid(home.postgres) if settings.database.embedded else None
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid) if pid is not None else None
    return None


def _database_ended(home: Home) -> SyncError:
    log = home.postgres / "log"
    say("The last lines of PostgreSQL:", "bold", stderr=True)
    with contextlib.suppress(OSError):
        lines = log.read_text(errors="backslashreplace").splitlines()
        for line in lines[-20:]:
            say(f"    {printable(line, 500)}", stderr=True)
    return SyncError(
        f"The embedded PostgreSQL has been gone for {DATABASE_GONE_SECONDS} s.",
        where={"log": log},
        state="Everything that was started with it is stopped.",
        next_command="sync-pipelines up",
    )
