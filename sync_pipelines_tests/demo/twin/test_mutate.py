import random
import re
from decimal import Decimal

import pytest

from sync_pipelines.demo.twin import TwinColumn
from sync_pipelines.demo.twin.mutate import mutate, parse_type, random_value

from .helpers import item, items_table


@pytest.mark.parametrize(
    ("data_type", "parsed"),
    [
        ("VARCHAR2(50 CHAR)", ("VARCHAR2", 50, 0)),
        ("numeric(6,2)", ("NUMERIC", 6, 2)),
        ("NUMBER(5)", ("NUMBER", 5, 0)),
        ("NUMBER", ("NUMBER", None, 0)),
        ("DOUBLE PRECISION", ("DOUBLE PRECISION", None, 0)),
        ("TIMESTAMP WITH TIME ZONE", ("TIMESTAMP WITH TIME ZONE", None, 0)),
        ("TIMESTAMP(6) WITH TIME ZONE", ("TIMESTAMP WITH TIME ZONE", 6, 0)),
    ],
)
def test_types_are_split(data_type, parsed):
    assert parse_type(data_type) == parsed


@pytest.mark.parametrize(
    ("data_type", "fits"),
    [
        ("VARCHAR(3)", lambda value: isinstance(value, str) and 0 < len(value) <= 3),
        ("TEXT", lambda value: isinstance(value, str)),
        ("SMALLINT", lambda value: isinstance(value, int) and abs(value) < 2**15),
        ("INTEGER", lambda value: isinstance(value, int) and abs(value) < 2**31),
        ("NUMBER(2)", lambda value: isinstance(value, int) and abs(value) < 100),
        (
            "NUMERIC(4,2)",
            lambda value: isinstance(value, Decimal) and 0 <= value < 100 and value * 100 % 1 == 0,
        ),
        ("NUMBER(18,15)", lambda value: isinstance(value, Decimal) and 0 <= value < 1000),
        ("NUMBER(3,3)", lambda value: isinstance(value, Decimal) and 0 <= value < 1),
        ("DOUBLE PRECISION", lambda value: isinstance(value, float)),
        ("BOOLEAN", lambda value: isinstance(value, bool)),
        ("DATE", lambda value: re.fullmatch(r"\d{4}-\d\d-\d\d", value)),
        ("TIMESTAMP", lambda value: re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value)),
        ("TIMESTAMP WITH TIME ZONE", lambda value: value.endswith("Z")),
        ("TIMESTAMPTZ", lambda value: value.endswith("Z")),
    ],
)
def test_random_values_fit_their_type(data_type, fits):
    rng = random.Random(1)
    assert all(fits(random_value(TwinColumn("x", data_type), rng)) for _ in range(500))


def test_same_seed_does_the_same():
    reports, truths = [], []
    for _ in range(2):
        table = items_table()
        table.put_many(item(f"A{number}") for number in range(50))
        reports.append(mutate(table, 5, 5, 5, seed=42))
        truths.append(table.truth())
    assert reports[0] == reports[1]
    assert truths[0] == truths[1]


def test_more_than_there_is_changes_and_deletes_what_there_is():
    table = items_table()
    table.put(item("A"))
    assert mutate(table, changes=5) == {"changed": [["A"]], "inserted": [], "deleted": []}
    assert mutate(table, deletes=5)["deleted"] == [["A"]]
