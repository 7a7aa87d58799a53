"""Short uids are accepted everywhere; one that is not unique is an error that lists what it may mean."""

from __future__ import annotations

import pytest

from sync_pipelines.cli.shell.uids import Kind, find_uid, short
from sync_pipelines.errors import NotFoundError, SettingsError

ONE, OTHER = "abcd1234-0000-4000-8000-000000000001", "abcd1234-0000-4000-8000-000000000002"


@pytest.fixture
def incidents(world):
    """Two incidents that differ in their last digit, and one that differs in its first."""
    for uid in (ONE, OTHER, "12340000-0000-4000-8000-000000000003"):
        world.sql(
            "INSERT INTO bridge.incidents (uid, kind, subject, message) VALUES (%s, 'freshness', %s, 'm')",
            uid,
            uid,
        )
    return world.database


def test_a_unique_beginning_is_enough_and_dashes_do_not_matter(incidents):
    assert str(find_uid(incidents, Kind.INCIDENT, "1234")) == "12340000-0000-4000-8000-000000000003"
    assert str(find_uid(incidents, Kind.INCIDENT, ONE)) == ONE
    assert str(find_uid(incidents, Kind.INCIDENT, ONE.replace("-", "").upper())) == ONE


def test_an_ambiguous_beginning_lists_the_candidates(incidents):
    with pytest.raises(SettingsError, match=f"{ONE}, {OTHER}"):
        find_uid(incidents, Kind.INCIDENT, "abcd1234-0000-4000-8000-00000000000")


@pytest.mark.parametrize("text", ["", "abc", "xyz12", "%%%%", "abcd" * 12])
def test_what_is_no_uid_is_refused(incidents, text):
    with pytest.raises(SettingsError, match="no uid"):
        find_uid(incidents, Kind.INCIDENT, text)


def test_a_beginning_of_nothing_is_not_found(incidents):
    with pytest.raises(NotFoundError, match="begins with ffff"):
        find_uid(incidents, Kind.INCIDENT, "ffff")


def test_what_a_table_shows_can_be_typed(cli, world):
    world.add_items(3)
    run = world.sync().uid
    listed = cli("runs")
    assert short(run) in listed.stdout
    assert cli("runs", "show", short(run), "--json").json["uid"] == str(run)
    missing = cli("runs", "show", "00000000")
    assert missing.code == 2
