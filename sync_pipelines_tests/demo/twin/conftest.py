"""A running twin and its client."""

import pytest

from sync_pipelines.demo.twin import FaultPlan, TwinServer, TwinStore

from .helpers import TOKEN, Client, item, items_table


@pytest.fixture
def table():
    return items_table()


@pytest.fixture
def faults():
    return FaultPlan()


@pytest.fixture
def twin(table, faults):
    store = TwinStore()
    store.add(table)
    with TwinServer(store, TOKEN, faults=faults) as server:
        yield server


@pytest.fixture
def client(twin):
    return Client(twin.port)


@pytest.fixture
def filled(table):
    table.put_many(item(f"A{number:02d}") for number in range(25))
    return table
