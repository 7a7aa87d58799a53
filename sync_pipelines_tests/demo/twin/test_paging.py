import pytest

from sync_pipelines.demo.twin import (
    NULL_ROWVERSION,
    IntegerRowversions,
    TimestampRowversions,
    TwinServer,
    TwinStore,
)

from .helpers import TOKEN, Client, item, items_table


def numbers(rows):
    return [row["data"]["item_number"] for row in rows]


@pytest.fixture
def serve():
    servers = []

    def start(table, **store_options):
        store = TwinStore(**store_options)
        store.add(table)
        servers.append(TwinServer(store, TOKEN).start())
        return Client(servers[-1].port)

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize("page_size", [1, 7, 25, 26, 1000])
def test_pages_together_give_every_row_once_in_order(client, filled, page_size):
    assert numbers(client.walk(page_size=page_size)) == [f"A{number:02d}" for number in range(25)]


def test_page_behind_the_end_is_empty(client, filled):
    assert client.data(page=4, page_size=10).rows == []


def test_default_page_has_a_thousand_rows(client, table):
    table.put_many(item(f"A{number}") for number in range(1001))
    assert len(client.data().rows) == 1000
    assert len(client.data(page=2).rows) == 1


def test_rowversion_filter_is_strict(client, filled):
    assert client.data(rowversion_gt="000023").numbers == ["A23", "A24"]
    assert client.data(rowversion_gt="000025").rows == []
    assert len(client.data(rowversion_gt="").rows) == 25


def test_updated_row_moves_to_the_end(client, filled):
    filled.put(item("A03", "nut"))
    assert client.data(rowversion_gt="000025").numbers == ["A03"]
    assert len(client.data().rows) == 25


def test_update_between_two_pages_shifts_a_row_out_of_sight(client, filled):
    first = client.data(page=1, page_size=10)
    filled.touch(("A00",))
    second = client.data(page=2, page_size=10)
    assert "A10" not in first.numbers + second.numbers


def test_text_comparator_puts_10_before_9_and_integer_does_not(serve):
    rows = [item(str(number)) for number in range(1, 12)]
    text, number = (
        items_table(rowversions=IntegerRowversions(1), comparator=comparator)
        for comparator in ("text", "integer")
    )
    for table in (text, number):
        table.put_many(rows)
    assert serve(text).data(rowversion_gt="9").rows == []
    assert serve(number).data(rowversion_gt="9").numbers == ["10", "11"]
    assert [row["row_version"] for row in serve(text).data(page_size=3).rows] == ["1", "10", "11"]


def test_stable_ties_come_in_order_of_arrival(client, table):
    table.put_many([item(f"A{number}") for number in range(30)], ["7"] * 30)
    assert numbers(client.walk(page_size=7)) == [f"A{number}" for number in range(30)]


def test_unstable_ties_change_between_requests_but_never_across_versions(serve):
    table = items_table()
    table.put_many(
        [item(f"A{number:02d}") for number in range(60)], ["1"] * 20 + ["2"] * 20 + ["3"] * 20
    )
    client = serve(table, order_ties="unstable")
    pages = [client.data(page=2, page_size=10) for _ in range(5)]
    assert len({tuple(page.numbers) for page in pages}) > 1
    assert all({row["row_version"] for row in page.rows} == {"1"} for page in pages)
    assert [row["row_version"] for row in client.data().rows] == ["1"] * 20 + ["2"] * 20 + [
        "3"
    ] * 20


def test_frozen_clock_makes_ties():
    from datetime import UTC, datetime

    table = items_table(
        rowversions=TimestampRowversions(clock=lambda: datetime(2025, 12, 8, 12, tzinfo=UTC))
    )
    assert table.put(item("A")) == table.put(item("B")) == "20251208120000"


def test_page_cap_is_applied_silently(serve):
    table = items_table(page_cap=4)
    table.put_many(item(f"A{number:02d}") for number in range(10))
    client = serve(table)
    assert len(client.data(page_size=1000).rows) == 4
    assert len(client.walk(page_size=1000)) == 10


def test_table_without_rowversion_sends_null_and_filters_everything_out(serve):
    table = items_table(has_rowversion=False)
    table.put_many([item("B"), item("A")])
    client = serve(table)
    assert [row["row_version"] for row in client.data().rows] == [None, None]
    assert client.data().numbers == ["B", "A"]
    assert client.data(rowversion_gt="0").rows == []


@pytest.mark.parametrize("comparator", ["text", "integer"])
def test_null_rowversion_is_never_greater(comparator):
    table = items_table(comparator=comparator)
    table.put(item("A"), NULL_ROWVERSION)
    table.put(item("B"), "5")
    table.put(item("C"), 6)
    assert b'"row_version":6,' in table.page("5")
    assert b'"A"' in table.page()
    assert b'"A"' not in table.page("1")


def test_unsorted_pages_still_hold_every_row_once(serve):
    table = items_table(sorted_pages=False)
    table.put_many(item(f"A{number:02d}") for number in range(25))
    rows = serve(table).walk(page_size=10)
    assert numbers(rows) != sorted(numbers(rows))
    assert sorted(numbers(rows)) == [f"A{number:02d}" for number in range(25)]


def test_bulk_load_pages_fast(table):
    import time

    table.put_many(item(f"A{number}") for number in range(50_000))
    best = min(_timed(lambda: table.page("000100", 30, 1000), time) for _ in range(5))
    assert best < 0.005


def _timed(action, time):
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
