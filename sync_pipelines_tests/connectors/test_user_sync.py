"""The shipped connector user_sync, which reads users by their ids."""

from __future__ import annotations

import pytest

from sync_pipelines.declare.connector_file import load_declaration
from sync_pipelines.errors import (
    IncompleteAnswerError,
    SettingsError,
)


def test_user_sync_may_ask_for_many_ids_in_a_parameter():
    given = {
        "source": "crm",
        "user_ids": "1,2",
        "path": "/users",
        "ids_param": "id",
        "verified_field": "ok",
        "updated_codec": "http_date",
    }
    endpoint = load_declaration("user_sync", given).endpoints["users"]
    assert (endpoint.ids.param, endpoint.ids.verified, endpoint.cursor.codec) == (
        "id",
        "ok",
        "http_date",
    )


IDS = ",".join(map(str, range(1, 151)))


@pytest.mark.parametrize("source", ["crm", "analytics", "billing"])
def test_user_sync_reads_150_users_by_their_ids_with_chosen_fields(crm, source):
    crm.apply_shipped("user_sync", source=source, user_ids=IDS, fields="email,phone")
    assert crm.sync("users").ledger.inserted == 150
    assert crm.entity("users").path == f"{source}/users"
    row = crm.table()[7]
    assert {**row, "updated_at": None} == {
        "user_id": 7,
        "email": "u7@example.com",
        "phone": "+1 7",
        "updated_at": None,
    }
    assert crm.requests()[0].query["fields"] == "id,email_address,mobile,updated_at"


def test_user_sync_takes_only_what_changed_since(crm):
    crm.apply_shipped("user_sync", source="crm", user_ids=IDS)
    crm.set("users", lookback_seconds=0)
    crm.sync("users")
    crm.rest.endpoints["/api/users/{id}"].records[41].update(
        full_name="Changed", updated_at="2024-07-01T00:00:00Z"
    )
    result = crm.sync("users")
    assert (result.mode, result.ledger.updated) == ("delta", 1)
    assert result.ledger.fetched <= 2
    assert crm.table()[42]["name"] == "Changed"


@pytest.mark.parametrize("gone, refused", [(30, False), (31, True)])
def test_user_sync_refuses_a_run_below_80_percent(crm, gone, refused):
    crm.apply_shipped("user_sync", source="crm", user_ids=IDS)
    del crm.rest.endpoints["/api/users/{id}"].records[60 : 60 + gone]
    if refused:
        assert "119 of 150" in crm.fails(IncompleteAnswerError, "users").what
    else:
        result = crm.sync("users")
        assert (result.ledger.inserted, result.ledger.quarantined) == (120, 30)


def test_an_unknown_source_of_user_sync_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match="did you mean billing"):
        load_declaration("user_sync", {"source": "biling", "user_ids": "1"})
