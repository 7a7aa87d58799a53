"""Checks with one line each: PASSED, FAILED or SKIPPED, what was seen, and what to type next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import typer
from rich.text import Text

from sync_pipelines.batches.raw_json import find_records
from sync_pipelines.batches.sieve import is_cut
from sync_pipelines.catalog.database import Database
from sync_pipelines.cli.shell.output import cell, draw, print_json
from sync_pipelines.declare.plan import fetch_sample
from sync_pipelines.destinations.registry import kind_of
from sync_pipelines.errors import (
    AuthenticationError,
    ConfigurationError,
    SecretMissingError,
    SourceContractError,
    SyncError,
)
from sync_pipelines.model.declaration import Declaration
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.limits import HttpLimits
from sync_pipelines.network.origins import travels_in_clear
from sync_pipelines.network.outbound import addresses_of, of_connector, wanted_secrets
from sync_pipelines.secrets import resolve_secret
from sync_pipelines.settings import Settings
from sync_pipelines.sources.apismith.protocol import APIS_PATH, fetch_apis, fetch_data
from sync_pipelines.sources.descriptions import parse_apis
from sync_pipelines.sources.http.connector_session import auth_key, connector_limits, new_session
from sync_pipelines.sources.http.guarded import Traffic


class Verdict(StrEnum):
    """How a check ended."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


_STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.SKIPPED: "yellow"}


@dataclass(frozen=True)
class Check:
    """One finished check."""

    name: str
    verdict: Verdict
    detail: str = ""
    next_command: str | None = None


def passed(name: str, detail: str = "") -> Check:
    """A check that found all well."""
    return Check(name, Verdict.PASSED, detail)


def failed(name: str, error: SyncError | str, next_command: str | None = None) -> Check:
    """A check that found trouble."""
    if isinstance(error, SyncError):
        return Check(name, Verdict.FAILED, error.what, error.next_command or next_command)
    return Check(name, Verdict.FAILED, error, next_command)


def skipped(name: str, why: str) -> Check:
    """A check that could not or need not be made."""
    return Check(name, Verdict.SKIPPED, why)


def attempt(name: str, action: Callable[[], str], next_command: str | None = None) -> Check:
    """Run `action`; its text is the detail, an error of ours the failure."""
    try:
        return passed(name, action())
    except SyncError as error:
        return failed(name, error, next_command)


def conclude(checks: Sequence[Check], *, as_json: bool) -> None:
    """Show the checks; exit code 1 when one failed."""
    ok = not any(check.verdict is Verdict.FAILED for check in checks)
    if as_json:
        print_json({"ok": ok, "checks": [vars(check) for check in checks]})
    else:
        width = max((len(check.name) for check in checks), default=0)
        for check in checks:
            line = Text.assemble(
                (f"{check.verdict:<8}", _STYLES[check.verdict]), f" {check.name:<{width}}  ", cell(check.detail)
            )
            if check.verdict is Verdict.FAILED and check.next_command:
                line.append(f"\n         {'':<{width}}  Next: ", "bold").append_text(cell(check.next_command))
            draw(line, soft_wrap=True)
    if not ok:
        raise typer.Exit(1)


def check_connector(database: Database, connector: Connector, settings: Settings, prefix: str = "") -> list[Check]:
    """Tell apart: missing secret, unreachable source, refused token, wrong shape, refusing database."""
    checks = [*_check_source(connector, settings), check_target(database, connector.target_schema)]
    kind = kind_of(connector.destination)
    if kind.settings_hint is not None:
        checks.append(check_destination(database, connector))
    return [Check(prefix + check.name, check.verdict, check.detail, check.next_command) for check in checks]


def _check_source(connector: Connector, settings: Settings) -> list[Check]:
    if connector.declaration is not None:
        return _check_declared(connector, settings)

    names = ("secret", "reachable", "token", "protocol", "definitions", "data")
    checks: list[Check] = []

    def rest(error: SyncError, why: str = "") -> list[Check]:
        checks.append(failed(names[len(checks)], error))
        return checks + [skipped(name, why or "needs the check above") for name in names[len(checks) :]]

    try:
        limits = HttpLimits.from_settings(connector.settings, timeout_seconds=min(10.0, settings.api_timeout_seconds))
        outbound = of_connector(connector, settings)
        outbound.check_secret(connector.auth_token, connector.base_url)
        resolve_secret(connector.auth_token)
    except ConfigurationError as error:
        return rest(error)
    checks.append(
        passed("secret", shown_secrets(connector)) if connector.auth_token else skipped("secret", "no token is used")
    )
    session = new_session(connector.base_url, auth_key(connector), limits.model_copy(update={"tries": 1}), outbound)
    try:
        apis = fetch_apis(session)
    except (SyncError, SecretMissingError) as error:
        if error.answered:
            checks.append(passed("reachable", connector.base_url))
        if error.answered and not isinstance(error, AuthenticationError):
            checks.append(passed("token", "not refused"))
        return rest(error)
    finally:
        session.close()
    checks += [
        passed("reachable", connector.base_url),
        passed("token", "accepted"),
        passed("protocol", f"{APIS_PATH} lists {len(apis)} APIs"),
    ]
    return checks + _check_apis(connector, settings, session, apis)


def _check_declared(connector: Connector, settings: Settings) -> list[Check]:
    """Secrets, then one answer of every endpoint whose address is known: reachable, accepted, records where they are
    declared.
    """
    declaration = Declaration.model_validate(connector.declaration)
    outbound = of_connector(connector, settings)

    def resolve() -> str:
        for reference, origin in sorted(wanted_secrets(connector)):
            outbound.check_secret(reference, origin)
        for reference in declaration.secrets:
            resolve_secret(reference)
        return shown_secrets(connector)

    checks = [attempt("secret", resolve) if declaration.secrets else skipped("secret", "none is used")]
    if checks[0].verdict is Verdict.FAILED:
        return [*checks, *(skipped(slug, "needs the secret") for slug in declaration.endpoints)]
    limits = connector_limits(connector, settings)
    patience = {"tries": 1, "timeout_seconds": min(10.0, limits.timeout_seconds)}
    session = new_session(connector.base_url, auth_key(connector), limits.model_copy(update=patience), outbound)
    try:
        for slug, endpoint in declaration.endpoints.items():
            if endpoint.ids is not None and endpoint.ids.table is not None:
                checks.append(skipped(slug, f"its ids are read from {endpoint.ids.table} by a sync"))
                continue

            def ask(endpoint: Any = endpoint) -> str:
                body = fetch_sample(endpoint, session)
                one = not endpoint.has_pages
                found = find_records(body, endpoint.records, may_be_one=one, max_record_bytes=settings.max_record_bytes)
                large = sum(map(is_cut, found))
                told = f", {large} of them larger than MAX_RECORD_BYTES" if large else ""
                return f"{len(found)} records in one answer of {endpoint.path}{told}"

            checks.append(attempt(slug, ask))
    finally:
        session.close()
    return checks


def shown_secrets(connector: Connector) -> str:
    """The references of a connector, and aloud where they travel in the clear."""
    references = ", ".join(sorted({reference for reference, _ in wanted_secrets(connector)}))
    plain = sorted(url for url in addresses_of(connector).values() if travels_in_clear(url))
    return references + (f"; sent over plain http to {', '.join(plain)}, where others can read it" if plain else "")


def _check_apis(connector: Connector, settings: Settings, session: Any, apis: list[Any]) -> list[Check]:
    entities, errors = parse_apis(apis, connector, settings)
    if errors:
        label, error = next(iter(errors.items()))
        checks = [
            failed("definitions", f"{len(errors)} of {len(apis)} cannot be used, for example {label}: {error.what}")
        ]
    else:
        checks = [passed("definitions", f"{len(entities)} usable")]
    if not entities:
        return [*checks, skipped("data", "no usable API")]

    def first_page() -> str:
        slug = next(iter(entities))
        body: bytes = fetch_data(session, slug, None, 1, 1, Traffic())
        try:
            rows = msgspec.json.decode(body)["rows"]
            if not isinstance(rows, list):
                raise TypeError
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
            raise SourceContractError(f'The data of {slug} is not an object with a list of "rows".') from None
        return f"{slug} answers a page"

    return [*checks, attempt("data", first_page)]


def check_destination(database: Database, connector: Connector) -> Check:
    """Does a destination that is not the catalog's own server answer, and can it be written to?"""
    kind = kind_of(connector.destination)
    return attempt(kind.name, lambda: kind.open(database, connector).check(), kind.settings_hint)


def check_target(database: Database, schema: str) -> Check:
    """Can the target schema be made and written?"""

    def look() -> str:
        with database.connect() as connection:
            row = connection.execute(
                """
                SELECT has_database_privilege(current_database(), 'CREATE') AS may_create,
                       (SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %s) AS may_write
                """,
                [schema],
            ).fetchone()
        assert row is not None
        if row["may_write"] is False or (row["may_write"] is None and not row["may_create"]):
            raise ConfigurationError(
                f"The database role may not {'write to' if row['may_write'] is False else 'create'} the schema"
                f" {schema}.",
                next_command="GRANT CREATE"
                f" ON {'SCHEMA ' + schema if row['may_write'] is False else 'DATABASE …'} TO …",
            )
        return f"schema {schema} {'exists' if row['may_write'] else 'can be created'} in {database.location}"

    return attempt("database", look, "sync-pipelines doctor")
