"""Cron expressions of a connector: its own, the process's default, or none."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from croniter import croniter

from sync_pipelines.errors import SettingsError
from sync_pipelines.model.entity import Connector
from sync_pipelines.secrets import printable
from sync_pipelines.settings import Settings

OFF = "off"
DEFAULT = "default"


@dataclass(frozen=True)
class Crons:
    """What a clock starts for a connector; None = nothing.

    Attributes:
        sync: all entities, instead of their intervals.
        full_refresh: all entities, read whole.
        discovery: ask the source what it offers.
        time_zone: in which the expressions are meant (IANA name).
    """

    sync: str | None
    full_refresh: str | None
    discovery: str | None
    time_zone: str


def usable_crons(connector: Connector, settings: Settings) -> tuple[Crons, list[SettingsError]]:
    """The expressions in force for a connector, and what is wrong with those that cannot be used and count as none.

    They were checked when they were set; a variable of the environment or a hand in the database may hold anything.
    """
    errors: list[SettingsError] = []

    def chosen(own: str | None, default: str, name: str) -> str | None:
        cron = default if own is None else own
        try:
            return None if cron in ("", OFF) else resolve_cron(cron, connector.name, name)
        except SettingsError as error:
            errors.append(error.at(connector=connector.name))  # type: ignore[arg-type]
            return None

    try:
        time_zone = check_time_zone(connector.time_zone or settings.schedule.schedule_time_zone)
    except SettingsError as error:
        errors.append(error)
        time_zone = "UTC"
    crons = Crons(
        sync=chosen(
            connector.sync_cron,
            settings.schedule.default_sync_cron,
            "sync cron",
        ),
        full_refresh=chosen(
            connector.full_refresh_cron,
            settings.schedule.default_full_refresh_cron,
            "full refresh cron",
        ),
        discovery=chosen(
            connector.discovery_cron, settings.schedule.default_discovery_cron, "discovery cron"
        ),
        time_zone=time_zone,
    )
    return crons, errors


def crons_of(connector: Connector, settings: Settings) -> Crons:
    """The usable expressions in force for a connector, as `usable_crons`."""
    return usable_crons(connector, settings)[0]


def resolve_cron(
    cron: str,
    connector_name: str,
    what: str = "cron expression",
) -> str:
    """A plain expression of five fields; a minute or hour `H` is chosen by the connector's name, to spread connectors.

    Raises:
        SettingsError: it is not an expression of five fields that ever comes.
    """
    fields = cron.split()
    spread = zlib.crc32(connector_name.encode())
    chosen = (spread % 60, spread // 60 % 24)
    for place, value in enumerate(chosen):
        if len(fields) > place and fields[place] in ("H", "h"):
            fields[place] = str(value)
    plain = " ".join(fields)
    if len(fields) != 5 or not _ever_comes(plain):
        raise SettingsError(
            f"The {what} {printable(cron)!r} is not a cron expression of five fields: minute, hour, day of month,"
            " month, day of week. `H` as minute or hour lets the connector's name choose one.",
            state="Nothing was stored.",
            next_command="for example '0 3 * * *' for every day at three, '*/15 * * * *' for every quarter of an"
            " hour, or off",
        )
    return plain


def _ever_comes(plain: str) -> bool:
    any_moment = datetime(2026, 1, 1)  # noqa: DTZ001 - a naive one will do
    try:
        croniter(plain, any_moment).get_next()
    except (ValueError, KeyError):
        return False
    return True


def next_tick(cron: str, time_zone: str, now: datetime) -> datetime:
    """When an expression next comes, aware.

    Args:
        cron: as `resolve_cron` returns it.
        time_zone: IANA name.
        now: aware.
    """
    local = now.astimezone(ZoneInfo(time_zone))
    found: datetime = croniter(cron, local).get_next(datetime)
    return found


def check_time_zone(name: str) -> str:
    """Return the name if it is a time zone of the IANA database.

    Raises:
        SettingsError: it is not.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise SettingsError(
            f"{printable(name)!r} is no time zone; use an IANA name such as UTC or Europe/Berlin.",
            state="Nothing was stored.",
        ) from None
    return name
