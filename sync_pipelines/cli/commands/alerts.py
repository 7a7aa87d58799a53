"""`sync-pipelines alerts`: incidents, and who gets messages about them."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer

from sync_pipelines.catalog.heartbeats import Looker
from sync_pipelines.catalog.incidents import get_incident, list_incidents
from sync_pipelines.catalog.opening import open_catalog
from sync_pipelines.catalog.webhooks import (
    add_webhook,
    find_webhooks,
    remove_webhook,
    shown_address,
    webhook_figures,
)
from sync_pipelines.cli.shell.failures import ListingGroup
from sync_pipelines.cli.shell.output import (
    JsonOption,
    examples,
    print_json,
    say,
    show_fields,
    show_table,
)
from sync_pipelines.cli.shell.processes import interruptible
from sync_pipelines.cli.shell.uids import Kind, UidArgument, find_uid, short
from sync_pipelines.errors import SecretMissingError, SyncError
from sync_pipelines.model.incident import TITLES, IncidentKind, Webhook
from sync_pipelines.observe.evaluate import close_by_hand
from sync_pipelines.observe.payload import probe_payload
from sync_pipelines.observe.watch import look
from sync_pipelines.observe.webhooks import Answer, outbound_of, send_message, signing_key

UID_EXAMPLE = "0b9d1c1e-5f0e-4e6b-9a53-0a4c6c1d2e3f"

group = typer.Typer(
    cls=ListingGroup,
    help="Incidents and who gets messages: `alerts` lists them, `alerts run` looks once, `alerts watch` goes on,"
    " `alerts webhook` names receivers.",
    epilog=examples(
        "alerts --open", "alerts webhook add https://hooks.example.com/sync --secret env:HOOK_KEY"
    ),
)
webhooks = typer.Typer(
    cls=ListingGroup,
    help="Receivers of messages, signed after standardwebhooks: add, list, remove.",
    epilog=examples(
        "alerts webhook list",
        "alerts webhook add https://hooks.example.com/sync --secret env:HOOK_KEY",
    ),
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group.add_typer(webhooks, name="webhook")
    app.add_typer(group, name="alerts")


@group.command("list", epilog=examples("alerts list --open", "alerts list --limit 5 --json"))
def list_(
    context: typer.Context,
    only_open: Annotated[
        bool, typer.Option("--open", help="Only those that are not over.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="At most so many, newest first.")
    ] = 50,
    as_json: JsonOption = False,
) -> None:
    """List incidents, open ones first (also without the word `list`)."""
    found = list_incidents(open_catalog(context.obj), only_open=only_open, limit=limit)
    if as_json:
        print_json(found)
        return
    show_table(
        "Incidents",
        ("incident", "what", "about", "since", "over", "informed", "message", "next"),
        [
            (
                short(row["uid"]),
                TITLES[row["kind"]],
                row["subject"],
                row["opened_at"],
                _over(row),
                _informed(row),
                row["message"],
                row["next_command"],
            )
            for row in found
        ],
        least=("informed", "over", "next", "since"),
        empty="No incident is open." if only_open else "There was no incident yet.",
    )


@group.command(epilog=examples(f"alerts show {UID_EXAMPLE}", f"alerts show {UID_EXAMPLE} --json"))
def show(context: typer.Context, uid: UidArgument, as_json: JsonOption = False) -> None:
    """Show one incident and what became of its messages."""
    database = open_catalog(context.obj)
    incident, messages = get_incident(database, find_uid(database, Kind.INCIDENT, uid))
    if as_json:
        print_json({**vars(incident), "title": incident.title, "messages": messages})
        return
    show_fields(
        f"Incident {incident.uid}",
        {
            "what": incident.title,
            "kind": incident.kind.value,
            "about": incident.subject,
            "message": incident.message,
            "since": incident.opened_at,
            "last seen": incident.last_seen_at,
            "gone since": incident.quiet_since,
            "over": incident.closed_at,
            **{name: _one_line(value) for name, value in incident.details.items()},
        },
    )
    show_table(
        "Messages",
        ("message", "webhook", "event", "tries", "delivered", "given up", "next try", "answer"),
        [
            (
                f"msg_{row['uid'].hex}",
                row["webhook"],
                row["event"],
                row["attempts"],
                row["delivered_at"],
                row["given_up_at"],
                None if row["delivered_at"] or row["given_up_at"] else row["next_attempt_at"],
                row["last_error"] or row["last_status"],
            )
            for row in messages
        ],
        right=("tries",),
        empty="No webhook wants a message.",
    )
    if incident.next_command and incident.closed_at is None:
        say(f"Next: {incident.next_command}", "cyan")


@group.command(epilog=examples("alerts run", "alerts run --json"))
def run(context: typer.Context, as_json: JsonOption = False) -> None:
    """Look once for incidents, also of Dagster itself, and deliver messages; for cron and for use without Dagster."""
    settings = context.obj
    done = look(lambda: open_catalog(settings), settings, looker=Looker.CRON)
    if as_json:
        print_json(
            {
                "busy": done.evaluation.busy,
                "open": done.evaluation.open,
                "opened": [vars(incident) for incident in done.evaluation.opened],
                "closed": [vars(incident) for incident in done.evaluation.closed],
                **vars(done.deliveries),
            }
        )
        return
    say(f"{done}.")
    if done.evaluation.open:
        say("Next: sync-pipelines alerts --open", "cyan")


@group.command(epilog=examples("alerts watch", "alerts watch --every 60"))
def watch(
    context: typer.Context,
    every: Annotated[
        float | None,
        typer.Option(
            min=1, help="Seconds between two looks; ALERT_INTERVAL_SECONDS when left out."
        ),
    ] = None,
) -> None:
    """Look again and again until Ctrl-C, beside Dagster, so that somebody notices when Dagster itself is dead.

    `up` runs it.
    """
    settings = context.obj
    pause = every or settings.alerts.alert_interval_seconds
    last_said = ""
    with interruptible(), contextlib.suppress(KeyboardInterrupt):
        while True:
            try:
                look(lambda: open_catalog(settings), settings, looker=Looker.WATCH)
                said = ""
            except SyncError as error:
                said = str(error)
            if said != last_said:
                say(said or "Looks work again.", stderr=True)
            last_said = said
            time.sleep(pause)


@group.command(epilog=examples("alerts test", "alerts test ops --json"))
def test(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One webhook; all when left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Send a signed test message now and show the answer; the exit code is 1 when a receiver did not take it."""
    found = find_webhooks(open_catalog(context.obj), name)
    settings = context.obj
    body = probe_payload(datetime.now(UTC))

    def send(hook: Webhook) -> Answer:
        message_id = f"msg_{uuid4().hex}"
        return send_message(
            hook.url,
            hook.secret,
            message_id,
            body,
            settings.alerts.alert_webhook_timeout_seconds,
            outbound_of(hook, settings),
        )

    answers = [(hook, send(hook)) for hook in found]
    if as_json:
        print_json(
            [
                {
                    "webhook": hook.name,
                    "status": answer.status,
                    "error": answer.error,
                    "ok": answer.error is None,
                }
                for hook, answer in answers
            ]
        )
    else:
        show_table(
            "Test",
            ("webhook", "address", "status", "answer"),
            [
                (hook.name, shown_address(hook.url), answer.status, answer.error or "taken")
                for hook, answer in answers
            ],
        )
    if any(answer.error for _, answer in answers):
        raise typer.Exit(1)


@group.command(epilog=examples(f"alerts close {UID_EXAMPLE}", f"alerts close {UID_EXAMPLE} --json"))
def close(context: typer.Context, uid: UidArgument, as_json: JsonOption = False) -> None:
    """End an incident by hand, for example of a job that is no more.

    If it is still there, the next look opens a new one.
    """
    database = open_catalog(context.obj)
    incident, _ = get_incident(database, find_uid(database, Kind.INCIDENT, uid))
    done = close_by_hand(database, context.obj, incident)
    if as_json:
        print_json({"incident": str(incident.uid), "closed": done})
        return
    say(f"{incident.title}: {incident.subject} is " + ("over." if done else "over already."))


@webhooks.command(
    "add",
    epilog=examples(
        "alerts webhook add https://hooks.example.com/sync --secret env:HOOK_KEY",
        "alerts webhook add env:CHAT_URL --secret env:HOOK_KEY --name chat --kinds freshness --kinds"
        " source_unreachable",
    ),
)
def webhook_add(
    context: typer.Context,
    url: Annotated[
        str, typer.Argument(help="Address, or env:NAME where the address itself is a secret.")
    ],
    secret: Annotated[
        str,
        typer.Option(
            help="Reference to the signing key, env:NAME: whsec_ and base64 of 24 bytes or more."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Its name; the host when left out.")] = None,
    kinds: Annotated[
        list[IncidentKind] | None, typer.Option(help="Only this kind of incident; repeatable.")
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option(
            "--allow-private",
            help="It need not be at a public address: name a host of your intranet, by https.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Name a receiver, or change the one of that name. It hears of incidents that begin from now on."""
    database = open_catalog(context.obj)
    try:
        signing_key(secret)
    except SecretMissingError as error:
        say(f"Warning: {error.what} The process that delivers needs it.", "yellow", stderr=True)
    webhook = add_webhook(
        database, url, secret, name=name, kinds=kinds or (), allow_private=allow_private
    )
    if as_json:
        print_json(
            {
                "name": webhook.name,
                "address": shown_address(webhook.url),
                "secret": webhook.secret,
                "kinds": webhook.kinds,
            }
        )
        return
    say(
        f"{webhook.name} gets messages about {', '.join(webhook.kinds) if webhook.kinds else 'every incident'}."
    )
    say(f"Next: sync-pipelines alerts test {webhook.name}", "cyan")


@webhooks.command("list", epilog=examples("alerts webhook list", "alerts webhook list --json"))
def webhook_list(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the receivers and what became of their messages."""
    rows = [
        {**row, "uid": str(row["uid"]), "url": shown_address(row["url"])}
        for row in webhook_figures(open_catalog(context.obj))
    ]
    if as_json:
        print_json(rows)
        return
    show_table(
        "Webhooks",
        (
            "webhook",
            "address",
            "key",
            "kinds",
            "active",
            "delivered",
            "waiting",
            "given up",
            "last delivered",
            "last error",
        ),
        [
            (
                row["name"],
                row["url"],
                row["secret"],
                ", ".join(row["kinds"]) if row["kinds"] else "all",
                row["is_active"],
                row["delivered"],
                row["waiting"],
                row["given_up"],
                row["last_delivered_at"],
                row["last_error"],
            )
            for row in rows
        ],
        right=("delivered", "waiting", "given up"),
        empty="Nobody gets a message. Next: sync-pipelines alerts webhook add URL --secret env:NAME",
    )


@webhooks.command(
    "remove", epilog=examples("alerts webhook remove ops", "alerts webhook remove ops --json")
)
def webhook_remove(context: typer.Context, name: str, as_json: JsonOption = False) -> None:
    """Forget a receiver, with the messages that wait for it."""
    waiting = remove_webhook(open_catalog(context.obj), name)
    if as_json:
        print_json({"webhook": name, "messages_dropped": waiting})
        return
    say(f"{name} is forgotten" + (f", with {waiting} messages that waited." if waiting else "."))


def _over(row: dict[str, Any]) -> Any:
    return row["closed_at"] or ("gone, not yet for long" if row["quiet_since"] else "open")


def _informed(row: dict[str, Any]) -> str:
    parts = [
        f"{row[name]} {name.replace('_', ' ')}"
        for name in ("delivered", "waiting", "given_up")
        if row[name]
    ]
    return ", ".join(parts) or "log"


def _one_line(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else value
