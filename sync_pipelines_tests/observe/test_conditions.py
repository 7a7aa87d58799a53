"""What is wrong now, at the edge of each threshold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from sync_pipelines.catalog.health import ConnectorHealth, EndedRun, EntityHealth, Health
from sync_pipelines.catalog.heartbeats import Heartbeat, Looker
from sync_pipelines.errors import (
    AuthenticationError,
    BrokenPageError,
    Category,
    DatabaseConnectionsError,
    DatabaseUnavailableError,
    IncompleteAnswerError,
    SourceUnreachableError,
    SyncError,
)
from sync_pipelines.model.entity import EntityStatus
from sync_pipelines.model.incident import Condition
from sync_pipelines.observe.conditions import find_conditions, unreachable_attempts
from sync_pipelines.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = uuid4()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def entity(slug: str = "items", **facts) -> EntityHealth:
    """An entity that synced a minute ago, and what differs."""
    known = {
        "created_at": ago(10**6),
        "last_success_at": ago(60),
        "last_status": "success",
        "last_completed_at": ago(60),
        "last_uid": RUN,
    }
    return EntityHealth("erp", slug, **{**known, **facts})


def found(
    *entities: EntityHealth, connector: ConnectorHealth | None = None, **facts
) -> list[Condition]:
    settings = Settings(
        _env_file=None,
        **{name: facts.pop(name) for name in list(facts) if name in Settings.model_fields},
    )
    return find_conditions(
        Health(NOW, entities, (connector or ConnectorHealth("erp"),), **facts), settings
    )


def kinds(*entities: EntityHealth, **facts) -> list[str]:
    return [condition.kind for condition in found(*entities, **facts)]


def test_nothing_is_wrong_with_what_is_well():
    assert found(entity()) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"consecutive_failures": 2}, []),
        ({"consecutive_failures": 3}, ["consecutive_failures"]),
        ({"last_seconds": 600.0}, []),
        ({"last_seconds": 600.1}, ["run_duration"]),
        (
            {
                "last_seconds": 9999.0,
                "last_error_kind": "InterruptedRun",
                "last_error_category": "died",
            },
            [],
        ),
        ({"running_uid": RUN, "running_seconds": 600.0}, []),
        ({"running_uid": RUN, "running_seconds": 601.0, "running_alive": True}, ["run_duration"]),
        ({"last_response_seconds": 10.0}, []),
        ({"last_response_seconds": 10.01}, ["slow_source"]),
        ({"rejecting_judged": 100, "rejecting_quarantined": 20}, []),
        ({"rejecting_judged": 100, "rejecting_quarantined": 21}, ["rejection_rate"]),
        ({"rejecting_judged": 9, "rejecting_quarantined": 8}, []),
        ({"rejecting_judged": 1, "rejecting_quarantined": 1}, ["rejection_rate"]),
        ({"held_deletions": 1}, ["action_required"]),
        ({"last_success_at": ago(660)}, []),
        ({"last_success_at": ago(661)}, ["freshness"]),
        ({"last_success_at": ago(661), "alert_freshness": "late"}, ["freshness"]),
        ({"last_success_at": ago(361), "alert_freshness": "late"}, ["freshness"]),
        ({"last_success_at": None, "created_at": ago(660)}, []),
        ({"last_success_at": None, "created_at": ago(661)}, ["freshness"]),
        ({"last_success_at": None, "running_uid": RUN, "running_seconds": 5.0}, []),
        (
            {
                "status": EntityStatus.ACTION_REQUIRED,
                "status_reason": "why",
                "consecutive_failures": 9,
            },
            ["action_required"],
        ),
        ({"status": EntityStatus.VANISHED, "last_success_at": ago(10**6)}, []),
        ({"sync_enabled": False, "last_success_at": ago(10**6), "consecutive_failures": 9}, []),
    ],
)
def test_an_entity_at_the_edge_of_each_threshold(facts, expected):
    settings = {name: facts[name] for name in facts if name.startswith("alert_")}
    assert (
        kinds(
            entity(**{name: value for name, value in facts.items() if name not in settings}),
            **settings,
        )
        == expected
    )


def test_a_run_whose_process_is_gone_is_distinguished_from_one_that_works():
    [works] = found(entity(running_uid=RUN, running_seconds=700.0, running_alive=True))
    [gone] = found(entity(running_uid=RUN, running_seconds=700.0, running_alive=False))
    assert works.next_command == f"sync-pipelines runs show {RUN}"
    assert "process that is gone" in gone.message
    assert gone.next_command == "sync-pipelines sync erp/items"


@pytest.mark.parametrize(
    ("ended", "failed", "expected"),
    [
        (19, 19, []),
        (20, 1, []),
        (20, 2, ["failure_rate"]),
        (1000, 51, ["failure_rate"]),
        (1, 1, []),
    ],
)
def test_a_failure_rate_needs_enough_runs(ended, failed, expected):
    assert kinds(connector=ConnectorHealth("erp", runs_ended=ended, runs_failed=failed)) == expected


@pytest.mark.parametrize(
    ("used", "expected"),
    [(89, []), (90, ["database_connections"]), (100, ["database_connections"])],
)
def test_connections_of_the_database_run_out(used, expected):
    assert kinds(connections_used=used, connections_usable=100) == expected


def test_a_sync_that_just_failed_for_want_of_a_connection_says_so_even_if_there_are_some_now():
    failed = {"last_status": "failed", **ended_by(DatabaseConnectionsError)}
    assert kinds(entity(**failed, last_completed_at=ago(299))) == ["database_connections"]
    assert kinds(entity(**failed, last_completed_at=ago(301))) == []


def ended_by(error: type[SyncError]) -> dict[str, object]:
    """What is written down of an error of this class."""
    return {
        "last_error_kind": error.__name__,
        "last_error_category": str(error.category),
        "last_error_answered": error("…").answered,
    }


def failed_to_reach(
    slug: str = "items", seconds_ago: float = 10, failures: int = 3, **facts
) -> EntityHealth:
    known = {
        "last_success_at": ago(500),
        "last_status": "failed",
        "last_completed_at": ago(seconds_ago),
        "last_error": "refused",
    }
    return entity(
        slug,
        **{**known, **ended_by(SourceUnreachableError), "consecutive_failures": failures, **facts},
    )


def test_a_source_is_unreachable_after_three_attempts_of_whatever_entity():
    assert "source_unreachable" in kinds(failed_to_reach(failures=3))
    assert "source_unreachable" not in kinds(failed_to_reach(failures=2))
    assert "source_unreachable" in kinds(*(failed_to_reach(slug, failures=1) for slug in "abc"))


def test_any_answer_of_the_source_is_contact():
    down = [failed_to_reach(slug, 10, 1) for slug in "abc"]
    assert unreachable_attempts(ConnectorHealth("erp"), down) == (3, "refused")
    assert (
        unreachable_attempts(ConnectorHealth("erp"), [*down, entity("d", last_success_at=ago(9))])[
            0
        ]
        == 0
    )
    refused = entity(
        "d", last_status="failed", **ended_by(AuthenticationError), last_completed_at=ago(9)
    )
    assert unreachable_attempts(ConnectorHealth("erp"), [*down, refused])[0] == 0
    assert unreachable_attempts(ConnectorHealth("erp", last_discovered_at=ago(9)), down)[0] == 0
    ours = entity(
        "d",
        last_status="failed",
        **ended_by(DatabaseUnavailableError),
        last_completed_at=ago(9),
        last_success_at=None,
    )
    assert unreachable_attempts(ConnectorHealth("erp"), [*down, ours])[0] == 3


def test_a_discovery_that_found_nobody_is_an_attempt():
    tried = ConnectorHealth("erp", ago(900), ago(5), "no answer", "unreachable", False)
    assert unreachable_attempts(tried, [failed_to_reach(failures=2)]) == (3, "no answer")
    answered = ConnectorHealth("erp", ago(900), ago(5), "401", "answered", True)
    assert unreachable_attempts(answered, [failed_to_reach(failures=2)])[0] == 0


def test_every_condition_says_what_to_type_first():
    everything = found(
        entity(
            consecutive_failures=3,
            last_seconds=700.0,
            last_response_seconds=11.0,
            rejecting_judged=10,
            rejecting_quarantined=9,
            last_success_at=None,
        ),
        entity("b", status=EntityStatus.ACTION_REQUIRED),
        failed_to_reach("c"),
        connector=ConnectorHealth("erp", runs_ended=20, runs_failed=9),
        connections_used=100,
    )
    assert {condition.kind for condition in everything} >= {
        "action_required",
        "failure_rate",
        "slow_source",
        "rejection_rate",
        "freshness",
    }
    assert all(
        condition.message.endswith((".", "refused", "known")) and condition.next_command
        for condition in everything
    )


def test_thresholds_come_from_the_settings():
    assert kinds(entity(consecutive_failures=1), alert_consecutive_failures=1) == [
        "consecutive_failures"
    ]
    assert kinds(entity(last_seconds=5.0), alert_duration_seconds=4) == ["run_duration"]
    assert kinds(
        entity(rejecting_judged=2, rejecting_quarantined=1),
        alert_rejection_min_records=2,
        alert_rejection_rate=0.4,
    ) == ["rejection_rate"]


def test_an_attempt_whose_step_tries_again_is_no_failure_yet():
    trying = failed_to_reach(failures=0, last_tried_again=True)
    assert unreachable_attempts(ConnectorHealth("erp"), [trying] * 3) == (0, None)
    again = failed_to_reach(failures=2, last_tried_again=True)
    assert unreachable_attempts(ConnectorHealth("erp"), [again])[0] == 2


def test_failures_of_another_cause_are_no_attempts_to_reach_the_source():
    ended = (
        EndedRun(ago(10), Category.UNREACHABLE),
        EndedRun(ago(70), Category.DATABASE),
        EndedRun(ago(130), Category.DATABASE),
    )
    assert kinds(failed_to_reach(failures=3, recent=ended)) == ["consecutive_failures"]
    assert "source_unreachable" in kinds(failed_to_reach(failures=3, recent=ended[:1] * 3))


class ProxyRefusedError(SourceUnreachableError):
    """A new kind of error that nobody has listed anywhere."""


def test_errors_count_by_what_they_tell_of_and_not_by_their_name():
    assert "source_unreachable" in kinds(failed_to_reach(failures=3, **ended_by(ProxyRefusedError)))
    assert "source_unreachable" in kinds(
        failed_to_reach(
            failures=3, last_error_kind="RenamedError", last_error_category="unreachable"
        )
    )
    assert "source_unreachable" not in kinds(
        failed_to_reach(failures=3, last_error_kind="ValueError", last_error_category="other")
    )
    answered = failed_to_reach(
        "b", last_error_kind="RenamedError", last_error_answered=True, seconds_ago=1
    )
    assert "source_unreachable" not in kinds(failed_to_reach(failures=3), answered)


def test_what_does_not_pass_by_itself_says_so():
    [refused] = found(
        entity(
            consecutive_failures=3,
            last_status="failed",
            **ended_by(AuthenticationError),
            last_exit_code=3,
        )
    )
    [broken] = found(
        entity(
            consecutive_failures=3,
            last_status="failed",
            **ended_by(BrokenPageError),
            last_exit_code=1,
        )
    )
    [few] = found(
        entity(
            consecutive_failures=3,
            last_status="incomplete",
            **ended_by(IncompleteAnswerError),
            last_exit_code=3,
            last_is_retriable=True,
        )
    )
    assert "does not help" not in few.message
    assert refused.message.endswith("Trying again does not help.")
    assert "does not help" not in broken.message


def test_the_failure_rate_waits_until_it_is_known_whether_the_source_is_down():
    many = ConnectorHealth("erp", runs_ended=30, runs_failed=9)
    assert kinds(failed_to_reach(failures=1), connector=many) == []
    assert "source_unreachable" in kinds(failed_to_reach(failures=3), connector=many)
    assert kinds(entity(), connector=many) == ["failure_rate"]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(10, []), (899, []), (901, ["consecutive_failures"])]
)
def test_after_an_outage_what_waits_for_its_turn_is_no_second_trouble(seconds, expected):
    back = ConnectorHealth("erp", outage_ended_at=ago(seconds))
    assert (
        kinds(failed_to_reach(seconds_ago=seconds + 60, last_success_at=ago(10)), connector=back)
        == expected
    )
    assert kinds(failed_to_reach(seconds_ago=5, last_success_at=ago(600)), connector=back)[-1:] == [
        "consecutive_failures"
    ]


def looked(
    looker: Looker, last_seconds_ago: float, resumed_seconds_ago: float | None = None
) -> Heartbeat:
    return Heartbeat(
        looker,
        ago(last_seconds_ago),
        None if resumed_seconds_ago is None else ago(resumed_seconds_ago),
    )


@pytest.mark.parametrize(
    ("resumed", "expected"), [(None, ["freshness"]), (5, []), (899, []), (901, ["freshness"])]
)
def test_nothing_is_late_before_it_could_catch_up_after_a_pause(resumed, expected):
    old = entity(last_success_at=ago(7200))
    assert kinds(old, heartbeats=(looked(Looker.DAGSTER, 1, resumed),)) == expected


@pytest.mark.parametrize(
    ("looker", "dagster", "own", "expected"),
    [
        (Looker.WATCH, 181, None, ["dagster_silent"]),
        (Looker.CRON, 181, 10_000, ["dagster_silent"]),
        (Looker.WATCH, 179, None, []),
        (Looker.WATCH, 7200, 5, []),
        (Looker.DAGSTER, 7200, None, []),
    ],
)
def test_who_looks_beside_dagster_notices_its_silence_but_not_after_a_sleep_of_its_own(
    looker, dagster, own, expected
):
    beats = (
        looked(Looker.DAGSTER, dagster),
        *(() if looker is Looker.DAGSTER else (looked(looker, 0, own),)),
    )
    assert kinds(entity(), looker=looker, heartbeats=beats) == expected
    assert kinds(entity(), looker=looker, heartbeats=beats, alert_silence_seconds=0) == []
    assert kinds(entity(), looker=looker, heartbeats=beats[1:]) == []
