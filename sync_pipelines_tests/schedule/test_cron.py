"""Cron expressions: a connector's own, the default, or none."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from dagster._utils.schedules import is_valid_cron_schedule

from sync_pipelines.errors import SettingsError
from sync_pipelines.model.entity import Connector
from sync_pipelines.schedule.cron import (
    check_time_zone,
    crons_of,
    next_tick,
    resolve_cron,
    usable_crons,
)
from sync_pipelines.settings import Settings


def connector(name: str = "erp", **options: str | None) -> Connector:
    return Connector(uuid4(), name, "http://x", None, name, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "cron",
    ["0 3 * * *", "*/15 * * * *", "H 3 * * *", "h H * * 1-5", "0 0 1 jan,jul *", "30 2 * * sun"],
)
def test_what_is_accepted_is_accepted_by_dagster_as_well(cron: str) -> None:
    assert is_valid_cron_schedule(resolve_cron(cron, "erp"))


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "hourly",
        "@daily",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "0 24 * * *",
        "0 0 30 2 *",
        "0 0 * * 8",
        "0 3 H * *",
        "0;3 * * * *",
        "\x1b[31m * * * *",
    ],
)
def test_what_never_comes_or_is_no_cron_is_refused_printably(cron: str) -> None:
    with pytest.raises(SettingsError, match="five fields") as caught:
        resolve_cron(cron, "erp")
    assert "\x1b" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_connectors_are_spread_by_their_names_and_stay_where_they_are() -> None:
    minutes = {resolve_cron("H 3 * * *", f"c{number}").split()[0] for number in range(200)}
    assert len(minutes) > 40
    assert resolve_cron("H H * * *", "erp") == resolve_cron("H H * * *", "erp")


def test_own_default_and_off() -> None:
    settings = Settings(
        _env_file=None, default_full_refresh_cron="1 2 * * *", default_discovery_cron=""
    )  # type: ignore[call-arg]
    crons = crons_of(connector(full_refresh_cron=None, sync_cron="5 * * * *"), settings)
    assert (crons.sync, crons.full_refresh, crons.discovery, crons.time_zone) == (
        "5 * * * *",
        "1 2 * * *",
        None,
        "UTC",
    )
    assert crons_of(connector(full_refresh_cron="off"), settings).full_refresh is None
    hourly = Settings(_env_file=None, default_sync_cron="0 * * * *")  # type: ignore[call-arg]
    assert crons_of(connector(), hourly).sync == "0 * * * *"
    assert crons_of(connector(sync_cron="off"), hourly).sync is None


def test_what_cannot_be_used_counts_as_none_and_is_reported() -> None:
    settings = Settings(_env_file=None, default_discovery_cron="now and then")  # type: ignore[call-arg]
    crons, errors = usable_crons(connector(sync_cron="hourly", time_zone="Mars/Olympus"), settings)
    assert (crons.sync, crons.discovery, crons.time_zone) == (None, None, "UTC")
    assert crons.full_refresh is not None
    assert len(errors) == 3


def test_an_expression_is_meant_in_the_time_zone_also_when_the_clocks_change() -> None:
    before = datetime(2026, 3, 28, 12, tzinfo=UTC)
    first = next_tick("0 4 * * *", "Europe/Berlin", before)
    assert first.astimezone(UTC) == datetime(2026, 3, 29, 2, tzinfo=UTC)
    assert (
        next_tick("0 4 * * *", "Europe/Berlin", datetime(2026, 3, 27, 12, tzinfo=UTC))
        .astimezone(UTC)
        .hour
        == 3
    )


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "", "Europe", "../../etc/passwd", "/etc/localtime"]
)
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="time zone"):
        check_time_zone(name)
