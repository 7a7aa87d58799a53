"""Rows of `bridge.webhooks`: the receivers of messages about incidents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import psycopg

from sync_pipelines.catalog.database import Database
from sync_pipelines.catalog.incidents import require_incidents
from sync_pipelines.errors import NotFoundError, SettingsError
from sync_pipelines.model.incident import IncidentKind, Webhook
from sync_pipelines.network.origins import check_spelling, travels_in_clear
from sync_pipelines.network.outbound import Outbound, named_by
from sync_pipelines.secrets import check_reference, printable, resolve_secret
from sync_pipelines.settings import load_settings

_FIELDS = "uid, name, url, secret, kinds, is_active, private_origins"
_ADD = "sync-pipelines alerts webhook add URL --secret env:NAME"


def check_webhook_url(url: str) -> str:
    """Return an address that messages may be sent to, or a reference to one.

    Raises:
        SettingsError: not http(s), no host, or with credentials, query or fragment, which would be kept in the clear.
    """
    if url.startswith("env:"):
        return check_reference(url)
    check_address(url)
    if urlsplit(url).query:
        raise SettingsError(
            "The address of a webhook must not hold a query, which may be a secret and would be kept in the clear.",
            state="Nothing was stored.",
            next_command="put the whole address into a variable and give it as env:NAME",
        )
    return url


def check_address(address: str) -> str:
    """Return an http(s) address; used for addresses that come from a variable, too, so it does not repeat it.

    Raises:
        SettingsError: it is none, holds credentials or a fragment, or is plain http beyond this machine.
        GuardError: its host is a number in an unusual spelling.
    """
    try:
        parts = urlsplit(address)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        usable = False
    if (
        not usable
        or parts.username
        or parts.password
        or parts.fragment
        or any(not 32 < ord(one) < 127 for one in address)
    ):
        raise SettingsError(
            "The address of a webhook is http(s)://host[:port][/path], without credentials and fragment.",
            state="Nothing was sent.",
        )
    if travels_in_clear(address):
        raise SettingsError(
            "The address of a webhook beyond this machine is https: a message can be read on its way,"
            " and its answer forged.",
            state="Nothing was sent.",
            next_command="give the receiver a certificate, or put a proxy with one in front",
        )
    return check_spelling(address)


def shown_address(url: str) -> str:
    """A webhook's address for people: its path may be a secret and is left out, a reference is shown as it is."""
    if url.startswith("env:"):
        return url
    parts = urlsplit(url)
    return printable(f"{parts.scheme}://{parts.netloc}" + ("/…" if len(parts.path) > 1 else ""))


def add_webhook(
    database: Database,
    url: str,
    secret: str,
    *,
    name: str | None = None,
    kinds: Sequence[IncidentKind] = (),
    allow_private: bool = False,
) -> Webhook:
    """Register a receiver, or change the one of that name; with `allow_private` its address need not be public.

    Raises:
        GuardError: an address that is not public and not named.
        SettingsError: an address or reference that cannot be used, or a name that another address has.
    """
    check_webhook_url(url)
    check_reference(secret)
    chosen = name or (
        url.removeprefix("env:").lower() if url.startswith("env:") else str(urlsplit(url).hostname)
    )
    if not chosen.isprintable() or not chosen.strip() or len(chosen) > 100:
        raise SettingsError(
            "The name of a webhook is 1 to 100 printable characters.", state="Nothing was stored."
        )
    private = _private_origins(url, allow_private=allow_private)
    with database.connect() as connection:
        require_incidents(connection)
        row = connection.execute(
            f"""
            INSERT INTO webhooks AS w (name, url, secret, kinds, private_origins) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (name) DO UPDATE SET url = excluded.url, secret = excluded.secret, kinds = excluded.kinds,
                is_active = true,
                private_origins = excluded.private_origins
            WHERE %s OR w.url = excluded.url RETURNING {_FIELDS}
            """,
            [
                chosen,
                url,
                secret,
                [str(kind) for kind in kinds] or None,
                private,
                name is not None,
            ],
        ).fetchone()
    if row is None:
        raise SettingsError(
            f"There is a webhook {chosen!r} with another address.",
            state="Nothing was stored.",
            next_command=f"{_ADD} --name NAME",
        )
    return _from_row(row)


def _private_origins(url: str, *, allow_private: bool) -> list[str]:
    """The origin that need not be public; of an address in a variable, as it is now."""
    address = (
        url if not url.startswith("env:") else (resolve_secret(url) if allow_private else None)
    )
    if address is None:
        return []
    private = named_by([check_address(address)], allow_private=allow_private)
    Outbound(private=private).with_settings(load_settings()).check_literal(address)
    return sorted(private)


def list_webhooks(
    connection: psycopg.Connection[Any], *, only_active: bool = False
) -> list[Webhook]:
    """The receivers by name."""
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM webhooks WHERE is_active OR NOT %s ORDER BY name", [only_active]
    )
    return [_from_row(row) for row in rows]


def webhook_figures(database: Database) -> list[dict[str, Any]]:
    """The receivers as rows with the counts of their messages, the last delivery and the last error."""
    with database.connect() as connection:
        require_incidents(connection)
        return list(
            connection.execute(
                f"""
                SELECT {_FIELDS}, d.*, (
                    SELECT last_error FROM deliveries WHERE webhook_uid = w.uid AND delivered_at IS NULL AND
                        last_error IS NOT NULL
                    ORDER BY sequence DESC LIMIT 1) AS last_error
                FROM webhooks w CROSS JOIN LATERAL (
                    SELECT count(delivered_at) AS delivered, count(given_up_at) AS given_up, max(delivered_at) AS
                        last_delivered_at,
                           count(*) FILTER (WHERE delivered_at IS NULL AND given_up_at IS NULL) AS waiting
                    FROM deliveries WHERE webhook_uid = w.uid
                ) d ORDER BY name
                """
            )
        )


def find_webhooks(database: Database, name: str | None) -> list[Webhook]:
    """All receivers, or the one of that name.

    Raises:
        NotFoundError: there is none.
    """
    with database.connect() as connection:
        require_incidents(connection)
        known = list_webhooks(connection)
    found = [webhook for webhook in known if name is None or webhook.name == name]
    if not found:
        names = ", ".join(printable(webhook.name) for webhook in known) or "none"
        raise NotFoundError(
            f"There is no webhook{f' {printable(name)!r}' if name else ''}; known: {names}.",
            state="Nothing was changed.",
            next_command=_ADD,
        )
    return found


def remove_webhook(database: Database, name: str) -> int:
    """Forget a receiver; returns how many of its messages were waiting.

    Raises:
        NotFoundError: no such receiver.
    """
    [webhook] = find_webhooks(database, name)
    with database.connect() as connection:
        row = connection.execute(
            "SELECT count(*) AS n FROM deliveries WHERE webhook_uid = %s AND delivered_at IS NULL"
            " AND given_up_at IS NULL",
            [webhook.uid],
        ).fetchone()
        connection.execute("DELETE FROM webhooks WHERE uid = %s", [webhook.uid])
    assert row is not None
    return int(row["n"])


def _from_row(row: dict[str, Any]) -> Webhook:
    kinds = row["kinds"] and tuple(IncidentKind(kind) for kind in row["kinds"])
    return Webhook(
        row["uid"],
        row["name"],
        row["url"],
        row["secret"],
        kinds,
        row["is_active"],
        tuple(row["private_origins"]),
    )
