import json
import re
from decimal import Decimal
from itertools import pairwise

import pytest

from sync_pipelines.demo.twin import TwinStore
from sync_pipelines.demo.twin.flights import load_flights, number_text
from sync_pipelines.demo.twin.flights_schema import SOURCES
from sync_pipelines.demo.twin.mutate import mutate, parse_type

COUNTS = {"airlines": 16, "airports": 1458, "planes": 3322, "weather": 26115, "flights": 336776}
SMALL = ("airlines", "airports", "planes", "weather")


@pytest.fixture(scope="module")
def store():
    return load_flights(TwinStore())


@pytest.fixture(scope="module")
def records(store):
    return {slug: store[slug].truth() for slug in SMALL}


@pytest.mark.parametrize("slug", COUNTS)
def test_every_row_of_the_package_is_there_under_its_own_key(store, slug):
    table = store[slug]
    assert len(table) == len(table.keys()) == len(table.log) == COUNTS[slug]
    assert all(None not in key for key in table.keys())  # noqa: SIM118


def test_delta_strategies_and_types_are_declared(store):
    described = {api["slug"]: api for api in store.describe()}
    assert {slug: api["delta_strategy"] for slug, api in described.items()} == {
        "airlines": "full",
        "airports": "hash",
        "planes": "rowversion",
        "weather": "rowversion",
        "flights": "rowversion",
    }
    assert described["flights"]["business_key_columns"] == [
        "year",
        "month",
        "day",
        "carrier",
        "flight",
        "origin",
    ]
    assert not any(
        column["is_nullable"]
        for column in described["weather"]["columns"]
        if column["is_business_key"]
    )


def test_weather_by_local_hour_is_not_unique_but_by_utc_hour_is(records):
    local = [
        tuple(row[name] for name in ("origin", "year", "month", "day", "hour"))
        for row in records["weather"].values()
    ]
    assert len(local) - len(set(local)) == 3
    assert len(records["weather"]) == COUNTS["weather"]


def test_flights_without_origin_are_not_unique(store):
    keys = store["flights"].keys()
    assert len(keys) - len({key[:-1] for key in keys}) == 24


@pytest.mark.parametrize("slug", SMALL)
def test_values_fit_the_declared_types(store, records, slug):
    for column in store[slug].columns:
        for row in records[slug].values():
            check_fit(column, row[column.name])


def test_flights_fit_their_declared_types(store):
    columns = store["flights"].columns
    for line in json.loads(store["flights"].page(page=7, page_size=5000), parse_float=Decimal)[
        "rows"
    ]:
        for column in columns:
            check_fit(column, line["data"][column.name])


def check_fit(column, value):
    base, precision, scale = parse_type(column.data_type)
    if value is None:
        assert column.is_nullable, column.name
    elif base in ("NUMBER", "NUMERIC"):
        assert abs(value) < 10 ** (precision - scale)
        assert isinstance(value, int) or -value.as_tuple().exponent <= scale
    elif base in ("INTEGER", "SMALLINT"):
        assert isinstance(value, int)
    elif base in ("VARCHAR", "VARCHAR2", "CHAR"):
        assert len(value) <= precision
    elif base.startswith("TIMESTAMP"):
        assert re.fullmatch(r"2013-\d\d-\d\dT\d\d:00:00Z|2014-01-01T0\d:00:00Z", value)


def test_numbers_keep_the_digits_of_the_file(store):
    page = store["weather"].page(page_size=5)
    assert b'"wind_speed":10.357019999999999,' in page
    assert b'"temp":39.02,' in page
    assert b'"wind_gust":null,' in page
    assert number_text("1e3") == "1000"
    assert number_text("12345.60") == "12345.60"
    assert not re.search(rb"\de[+-]?\d", store["weather"].page(page_size=30_000))


@pytest.mark.parametrize("slug", ["planes", "weather", "flights"])
def test_row_versions_are_fourteen_digits_sorted_and_tied(store, slug):
    rows = json.loads(store[slug].page(page=2, page_size=1000))["rows"]
    versions = [row["row_version"] for row in rows]
    assert all(re.fullmatch(r"\d{14}", version) for version in versions)
    assert all(earlier <= later for earlier, later in pairwise(versions))
    assert len(set(versions)) < len(versions) / 2
    assert all(row["data"]["erp_rowversion"] == row["row_version"] for row in rows)


def test_tables_without_row_versions_say_null(store):
    assert json.loads(store["airports"].page(page_size=1))["rows"][0]["row_version"] is None


def test_limit_and_choice_of_tables():
    store = load_flights(TwinStore(), limit=100, tables=["weather", "flights"])
    assert [len(table) for table in store.tables()] == [100, 100]
    with pytest.raises(KeyError):
        load_flights(TwinStore(), tables=["trains"])


@pytest.mark.parametrize("slug", SOURCES)
def test_mutation_works_on_every_table_and_moves_to_the_end(slug):
    store = load_flights(TwinStore(), limit=50, tables=[slug])
    table = store[slug]
    report = mutate(table, changes=10, inserts=5, deletes=5, seed=3)
    assert [len(report[name]) for name in ("changed", "inserted", "deleted")][1] == 5
    for column in table.columns:
        for key in report["changed"]:
            value = table.get(tuple(key))[column.name]
            if not column.data_type.startswith("TIMESTAMP"):
                check_fit(column, value)
    if table.has_rowversion:
        assert table.page("20200101000000").count(b'"oracle_keys"') == 15


def test_deep_page_of_all_flights_is_quick(store):
    import time

    times = []
    for page in (1, 100, 336):
        started = time.perf_counter()
        assert store["flights"].page(None, page, 1000).count(b'"oracle_keys"') in (1000, 776)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.005
