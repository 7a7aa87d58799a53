import time

import pytest

from sync_pipelines.demo.twin import TcpProxy

from .helpers import Client


@pytest.fixture
def proxy(twin, filled):
    with TcpProxy(twin.port) as running:
        yield running


@pytest.fixture
def through(proxy):
    return Client(proxy.port, timeout=2)


def test_proxy_passes_everything_on(through, client, proxy):
    assert through.data().body == client.data().body
    assert proxy.url == f"http://127.0.0.1:{proxy.port}"
    assert proxy.connections == 1


def test_cut_after_k_bytes_resets(through, proxy):
    proxy.cut_after_bytes = 400
    with pytest.raises(ConnectionResetError):
        through.data()
    proxy.heal()
    through.connection.close()
    assert len(through.data().rows) == 25


def test_drip_slows_the_line_down(through, proxy):
    proxy.drip_bytes, proxy.drip_interval_seconds = 500, 0.02
    started = time.monotonic()
    assert len(through.data().rows) == 25
    assert time.monotonic() - started >= 0.1


def test_latency_is_added(through, proxy):
    proxy.latency_seconds = 0.15
    started = time.monotonic()
    through.data()
    assert time.monotonic() - started >= 0.15


def test_refused_until_healed(through, proxy):
    through.data()
    proxy.refuse()
    with pytest.raises(OSError):
        through.data()
    through.connection.close()
    with pytest.raises(ConnectionRefusedError):
        through.data()
    through.connection.close()
    proxy.heal()
    assert len(through.data().rows) == 25


def test_partition_stalls_and_healing_delivers(twin, proxy):
    proxy.partition()
    impatient = Client(proxy.port, timeout=0.2)
    with pytest.raises(TimeoutError):
        impatient.data()
    assert twin.requests_log == []
    proxy.heal()
    assert len(Client(proxy.port).data().rows) == 25


def test_reset_all_breaks_open_connections(through, proxy):
    through.data()
    proxy.reset_all()
    with pytest.raises(OSError):
        through.data()


def test_dead_target_resets_the_caller(proxy, twin, through):
    twin.stop()
    with pytest.raises(OSError):
        through.data()
