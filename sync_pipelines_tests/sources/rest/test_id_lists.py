"""Records by their ids: what was asked for came back, verified and not empty, or is reported."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.errors import (
    DatabaseRefusedError,
    GuardError,
    IncompleteAnswerError,
    SettingsError,
)
from sync_pipelines.model.run import RunStatus
from sync_pipelines.sources.context import ReadContext
from sync_pipelines.sources.registry import open_source
from sync_pipelines_tests.declared_world import COLUMNS, user, users

WANTED = list(range(1, 21))


def start(world, *, by_path=False, count=20, verified=None, **changes):
    records = users(count)
    served = world.serve(
        path="/users/{id}" if by_path else "/users",
        records=records,
        ids=None if by_path else "ids",
        **changes,
    )
    ids = {
        "values": WANTED,
        "size": 10,
        **({} if by_path else {"param": "ids"}),
        **({"verified": verified} if verified else {}),
    }
    columns = [*COLUMNS, *([{"name": verified, "type": "boolean"}] if verified else [])]
    world.apply_endpoint(path=served.path, ids=ids, columns=columns)
    return served


@pytest.mark.parametrize("by_path", [False, True])
def test_every_requested_id_is_read(declared, by_path):
    start(declared, by_path=by_path)
    result = declared.sync("users")
    assert result.ledger.inserted == 20
    assert len([one for one in declared.requests() if one.kind == "rest"]) == (20 if by_path else 2)


@pytest.mark.parametrize("by_path", [False, True])
def test_an_id_that_does_not_come_back_is_in_quarantine_and_its_row_stays(declared, by_path):
    served = start(declared, by_path=by_path)
    declared.sync("users")
    gone = served.records.pop(6)
    for _ in range(3):
        result = declared.sync("users")
        assert (result.ledger.quarantined, result.ledger.deleted) == (1, 0)
    assert declared.quarantine("users")[0]["business_key"] == ["7"]
    assert 7 in declared.table()
    served.records.append(gone)
    declared.sync("users")
    assert declared.sql("SELECT count(*) FROM bridge.quarantine WHERE resolved_at IS NULL") == [
        (0,)
    ]


def test_the_row_of_a_text_id_that_looks_like_a_number_stays_when_it_does_not_come_back(declared):
    served = declared.serve(20, ids="ids")
    for record in served.records:
        record["id"] = str(record["id"])
    columns = [{"name": "id", "type": "text", "key": True}, *COLUMNS[1:]]
    declared.apply_endpoint(
        ids={"values": [str(one) for one in WANTED], "param": "ids"}, columns=columns
    )
    declared.sync("users")
    del served.records[6]
    assert [declared.sync("users").ledger.deleted for _ in range(3)] == [0, 0, 0]
    assert declared.quarantine("users")[0]["business_key"] == ["7"]
    assert "7" in declared.table()


def test_ids_that_are_not_the_key_are_refused(declared):
    declared.serve(20, ids="ids")
    columns = [{"name": "code", "type": "text", "key": True}, {"name": "id", "type": "bigint"}]
    plan = declared.plan(
        declared.declare(ids={"values": WANTED, "param": "ids", "column": "id"}, columns=columns)
    )
    assert "are its business key" in plan.invalid["users"]


@pytest.mark.parametrize(
    "by_path, bad", [(True, ""), (True, "."), (True, ".."), (False, "3,4"), (False, "")]
)
def test_an_id_of_a_table_that_no_request_can_name_is_set_aside_without_asking(
    declared, by_path, bad
):
    path = "/users/{id}" if by_path else "/users"
    served = declared.serve(20, path=path, ids=None if by_path else "ids")
    declared.serve(20, path="/users/")
    for record in served.records:
        record["id"] = str(record["id"])
    declared.sql("CREATE TABLE public.members (member text)")
    declared.sql(
        f"INSERT INTO public.members SELECT generate_series(3, 12)::text UNION ALL SELECT '{bad}' UNION ALL SELECT NULL"
    )
    columns = [{"name": "id", "type": "text", "key": True}, *COLUMNS[1:]]
    declared.apply_endpoint(
        path=path,
        ids={"table": "public.members.member", **({} if by_path else {"param": "ids"})},
        columns=columns,
    )
    result = declared.sync("users")
    assert (result.ledger.inserted, result.ledger.quarantined) == (10, 1)
    assert "cannot be asked for" in declared.quarantine("users")[0]["reason"]


@pytest.mark.parametrize("missing, refused", [(4, False), (5, True)])
def test_a_run_with_less_than_80_percent_success_of_all_its_ids_is_refused(
    declared, missing, refused
):
    served = start(declared)
    declared.sync("users")
    served.records[0]["name"] = "changed"
    del served.records[10 : 10 + missing]
    if refused:
        error = declared.fails(IncompleteAnswerError, "users")
        assert declared.runs("users")[0]["status"] == "incomplete"
        assert (error.exit_code, error.details()["retriable"]) == (
            RunStatus.INCOMPLETE.exit_code,
            True,
        )
        assert f"{20 - missing} of 20" in error.what and "11: It was asked for" in error.what
        assert declared.table()[1]["name"] == "user 1"
    else:
        assert declared.sync("users").ledger.quarantined == missing


def test_unverified_and_empty_records_are_failures(declared):
    served = start(declared, verified="verified")
    for record in served.records:
        record["verified"] = True
    served.records[0]["verified"] = False
    served.records[1].update(name="", amount=None, updated_at=None)
    result = declared.sync("users")
    assert (result.ledger.inserted, result.ledger.quarantined) == (18, 2)
    assert {one["reason"] for one in declared.quarantine("users")} == {
        "The source has not verified it.",
        "It came back empty.",
    }


def test_a_record_that_was_not_asked_for_is_refused(declared):
    served = start(declared)
    served.ids = None
    served.records[:] = [*users(10), user(99)]
    declared.apply_endpoint(ids={"values": list(range(1, 11)), "size": 10, "param": "ids"})
    result = declared.sync("users")
    assert (result.ledger.inserted, result.ledger.quarantined) == (10, 1)
    assert declared.quarantine("users")[0]["reason"] == "It was not asked for."


def test_ids_do_not_come_from_the_catalog(declared):
    declared.serve(0)
    with pytest.raises(SettingsError, match="read from the catalog"):
        declared.apply_endpoint(ids={"table": "bridge.quarantine.record", "param": "ids"})


def test_ids_come_from_a_table(declared):
    declared.serve(20, ids="ids")
    declared.sql("CREATE TABLE public.members (member bigint)")
    declared.sql("INSERT INTO public.members SELECT generate_series(3, 8)")
    declared.apply_endpoint(ids={"table": "public.members.member", "param": "ids"})
    declared.sync("users")
    assert set(declared.table()) == set(range(3, 9))


def test_a_new_id_is_asked_for_from_the_beginning(declared):
    served = declared.serve(20, ids="ids", since=("since", "updated_at"))
    cursor = {"field": "updated_at", "param": "since", "lookback_seconds": 0}
    declared.apply_endpoint(ids={"values": [10, 11, 12], "param": "ids"}, cursor=cursor)
    declared.sync("users")
    assert declared.sync("users").mode == "delta"
    declared.apply_endpoint(ids={"values": [10, 11, 12, 2], "param": "ids"}, cursor=cursor)
    served.records[9].update(name="changed", updated_at=user(30)["updated_at"])
    result = declared.sync("users")
    assert result.mode == "delta"
    assert (result.ledger.inserted, result.ledger.updated) == (1, 1)
    assert set(declared.table()) == {2, 10, 11, 12}


@pytest.mark.parametrize("by_path", [False, True])
def test_missing_ids_never_stop_the_syncs_after_the_first(declared, by_path):
    """Ids without a row were a batch of their own from the second sync on, of which none came back."""
    path = "/users/{id}" if by_path else "/users"
    served = declared.serve(
        path=path, records=users(20), ids=None if by_path else "ids", since=("since", "updated_at")
    )
    del served.records[3:6]
    cursor = {"field": "updated_at", "param": "since", "lookback_seconds": 0}
    declared.apply_endpoint(
        path=path,
        ids={"values": WANTED, "size": 10, **({} if by_path else {"param": "ids"})},
        cursor=cursor,
    )
    assert declared.sync("users").ledger.inserted == 17
    for number in range(2, 11):
        served.records[number].update(
            name=f"changed in sync {number}", updated_at=user(100 + number)["updated_at"]
        )
        result = declared.sync("users", full_refresh=number % 4 == 0)
        assert (result.mode, result.ledger.updated) == ("full" if number % 4 == 0 else "delta", 1)
        assert declared.table()[served.records[number]["id"]]["name"] == f"changed in sync {number}"
    served.records.insert(3, user(4, updated_at=user(5)["updated_at"]))
    assert declared.sync("users").ledger.inserted == 1, (
        "an id that comes late is asked for from the beginning"
    )
    del served.records[10:]
    declared.fails(IncompleteAnswerError, "users", full_refresh=True)


def test_a_full_refresh_asks_for_every_id_once(declared):
    served = declared.serve(20, ids="ids", since=("since", "updated_at"))
    declared.apply_endpoint(
        ids={"values": WANTED, "size": 10, "param": "ids"},
        cursor={"field": "updated_at", "param": "since"},
    )
    declared.sync("users")
    before = len(declared.requests(served.path))
    assert declared.sync("users", full_refresh=True).ledger.fetched == 20
    assert len(declared.requests(served.path)) - before == 2


@dataclass(frozen=True)
class RefusedContext(ReadContext):
    """One whose connector's authentication is refused."""

    def open_session(self):
        raise GuardError("Nobody agreed that the secret goes there.")


def test_no_table_of_ids_is_read_for_a_source_whose_session_is_refused(declared):
    declared.serve(3, ids="ids")
    declared.apply_endpoint(ids={"table": "public.absent.member", "param": "ids"})
    connector = get_connector(declared.database, "shop")
    parts = (declared.database, connector, declared.entity("users"), declared.settings)
    with pytest.raises(GuardError, match="Nobody agreed"):
        open_source(RefusedContext(*parts))
    with pytest.raises(DatabaseRefusedError, match="public.absent.member"):
        open_source(ReadContext(*parts))
