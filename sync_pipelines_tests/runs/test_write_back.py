"""What a write-back sends is what the source had, but for the change."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from sync_pipelines.catalog.connectors import get_connector
from sync_pipelines.catalog.entities import get_entity
from sync_pipelines.errors import ConfigurationError, SettingsError
from sync_pipelines.runs.write_back import _raw_record, _writable, apply_write_back, plan_write_back

RECORD = {
    "id": 1,
    "t": "x",
    "flag": True,
    "price": "1.50",
    "big": 9007199254740993,
    "at": "2024-06-30T10:00:00Z",
    "data": {"b": 1, "a": [1]},
    "ratio": 0.5,
    "short": "abc",
    "none": None,
}
TYPES = {
    "t": "text",
    "flag": "boolean",
    "price": "numeric(10,2)",
    "big": "bigint",
    "at": "timestamptz",
    "data": "jsonb",
    "ratio": "double precision",
    "short": "varchar(3)",
    "none": "numeric",
}
ID = {"name": "id", "type": "bigint", "key": True}


def start(world, record, columns):
    served = world.serve(0, records=[record])
    world.serve(0, path="/users/{id}").records = served.records
    names = [column["name"] for column in columns]
    world.apply_endpoint(
        columns=[ID, *columns], write_back={"path": "/users/{id}", "columns": names}
    )
    return lambda **values: plan_write_back(
        world.database, "shop", "users", "1", values, world.settings
    )


@pytest.mark.parametrize(
    "name, value, sent",
    [
        ("t", 'ü "q" \\ \n', 'ü "q" \\ \n'),
        ("t", None, None),
        ("t", "null", "null"),
        ("flag", "false", False),
        ("price", "3.1", "3.10"),
        ("big", "9007199254740995", 9007199254740995),
        ("at", "2024-07-01T12:00:00+02:00", "2024-07-01T10:00:00+00:00"),
        ("data", '{"z":  1.10}', {"z": Decimal("1.10")}),
        ("ratio", "1e22", 10**22),
        ("none", "7", 7),
    ],
)
def test_a_changed_value_arrives_and_nothing_else_changes(declared, name, value, sent):
    order = start(
        declared, dict(RECORD), [{"name": one, "type": kind} for one, kind in TYPES.items()]
    )
    plan = order(**{name: value})
    body = json.loads(plan.body, parse_float=Decimal)
    assert body == {**RECORD, name: sent}
    assert apply_write_back(declared.database, plan, declared.settings) == {}
    assert order(**{name: value}).changes == {}


def test_a_value_that_would_be_cut_is_refused(declared):
    order = start(
        declared, dict(RECORD), [{"name": one, "type": kind} for one, kind in TYPES.items()]
    )
    with pytest.raises(SettingsError, match="3 characters"):
        order(short="abcd")


@pytest.mark.parametrize("whole_first", [True, False])
def test_a_column_out_of_an_object_changes_within_it(declared, whole_first):
    columns = [
        {"name": "address", "type": "jsonb"},
        {"name": "city", "type": "text", "from": "address.city"},
    ]
    order = start(
        declared,
        {"id": 1, "address": {"city": "Aachen", "zip": 1}},
        columns[:: 1 if whole_first else -1],
    )
    assert json.loads(order(city="Bonn").body) == {"id": 1, "address": {"city": "Bonn", "zip": 1}}


def test_bytes_are_not_sent_back_in_a_notation_that_is_not_the_sources(declared):
    order = start(
        declared,
        {"id": 1, "raw": "3q2+7w==", "t": "x"},
        [{"name": "raw", "type": "bytea"}, {"name": "t", "type": "text"}],
    )
    with pytest.raises(ConfigurationError, match="has bytes"):
        order(t="y")


def test_a_row_that_is_not_what_the_source_has_is_not_sent_back(declared):
    served = declared.serve(
        0, records=[{"id": 1, "at": "2024-06-30T10:00:00.1234567Z", "name": "Ada"}]
    )
    columns = [ID, {"name": "at", "type": "timestamptz"}, {"name": "name", "type": "varchar(5)"}]
    declared.apply_endpoint(
        columns=columns,
        coerce={"at": "truncate"},
        write_back={"path": "/users/{id}", "columns": ["name"]},
    )
    with pytest.raises(ConfigurationError, match="cut"):
        plan_write_back(declared.database, "shop", "users", "1", {"name": "Bob"}, declared.settings)
    served.records[0] = {"id": 1, "at": "2024-06-30T10:00:00Z", "name": "Ada"}
    declared.sync("users")
    served.records[0] = {"id": 1, "at": "soon", "name": "Ada"}
    with pytest.raises(ConfigurationError, match="quarantine"):
        plan_write_back(declared.database, "shop", "users", "1", {"name": "Bob"}, declared.settings)


def test_a_record_larger_than_the_limit_does_not_go_back_without_its_largest_values(declared):
    order = start(
        declared,
        {**RECORD, "data": ["x" * 2000]},
        [{"name": one, "type": kind} for one, kind in TYPES.items()],
    )
    order(t="y")
    small = declared.settings.model_copy(update={"max_record_bytes": 1024})
    connector, entity = (
        get_connector(declared.database, "shop"),
        get_entity(declared.database, "shop", "users"),
    )
    with pytest.raises(ConfigurationError, match="larger than MAX_RECORD_BYTES"):
        _raw_record(_writable(declared.database, connector, entity, small), entity, "1", small)
