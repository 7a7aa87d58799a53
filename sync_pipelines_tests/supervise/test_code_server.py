"""A code server that dies is started again, a bounded number of times; pings are answered by a scripted source."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from sync_pipelines.supervise.code_server import CodeServer, GivenUpError, Patience
from sync_pipelines.supervise.ping import Answer, Pulse, main, ping

ALIVE, DEAD, SLOW = (
    Answer(Pulse.ALIVE),
    Answer(Pulse.DEAD, "UNKNOWN: gone"),
    Answer(Pulse.SLOW, "DEADLINE_EXCEEDED: late"),
)
QUICK = Patience(every_seconds=0.01, errors=3, silences=5, restarts=2, stop_seconds=5)
SLEEPER = [sys.executable, "-c", "import time; print('started', flush=True); time.sleep(600)"]


def answers(*script: Answer, then: Callable[[], None]) -> Callable[[], Answer]:
    """Give the script's answers one after the other, then do something and stay alive."""
    waiting: Iterator[Answer] = iter(script)

    def ask() -> Answer:
        answer = next(waiting, None)
        if answer is None:
            then()
            return ALIVE
        return answer

    return ask


def starts(capfd: pytest.CaptureFixture[str]) -> int:
    return capfd.readouterr().out.count("started")


def supervised(script: list[Answer], capfd: pytest.CaptureFixture[str]) -> int:
    """How often the server was started while the script was answered."""
    server = CodeServer(SLEEPER, answers(*script, then=lambda: server.stop()), QUICK)
    server.run()
    return starts(capfd)


@pytest.fixture
def slow_starts() -> list[Answer]:
    """Pings before a server listens; they are no reason to give it up."""
    return [DEAD] * 20


def test_a_server_that_answers_is_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    assert supervised([ALIVE] * 40, capfd) == 1


def test_a_server_is_not_given_up_before_it_answered_once(
    slow_starts: list[Answer], capfd: pytest.CaptureFixture[str]
) -> None:
    assert supervised([*slow_starts, *[ALIVE] * 40], capfd) == 1


def test_errors_in_a_row_start_it_again_and_fewer_do_not(capfd: pytest.CaptureFixture[str]) -> None:
    assert supervised([*[ALIVE] * 40, DEAD, DEAD, ALIVE, DEAD, DEAD, *[ALIVE] * 40], capfd) == 1
    assert supervised([*[ALIVE] * 40, DEAD, DEAD, DEAD, *[ALIVE] * 40], capfd) == 2


def test_silence_is_borne_longer_than_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert supervised([*[ALIVE] * 40, *[SLOW] * 4, *[ALIVE] * 40], capfd) == 1
    assert supervised([*[ALIVE] * 40, *[SLOW] * 5, *[ALIVE] * 40], capfd) == 2


def test_a_server_that_dies_again_and_again_is_given_up_aloud(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = CodeServer([sys.executable, "-c", "raise SystemExit(7)"], lambda: DEAD, QUICK)
    with pytest.raises(GivenUpError, match=r"2 times within 15 min and it ended with code 7"):
        server.run()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


def test_stop_ends_the_server(capfd: pytest.CaptureFixture[str]) -> None:
    server = CodeServer(SLEEPER, lambda: ALIVE, QUICK)
    ended = threading.Thread(target=server.run)
    ended.start()
    threading.Timer(0.5, server.stop).start()
    ended.join(60)
    assert not ended.is_alive()


def test_where_nobody_listens_a_ping_says_dead(tmp_path) -> None:
    assert ping(f"unix:{tmp_path}/nobody.sock", 5).pulse is Pulse.DEAD
    assert main(["--socket", f"{tmp_path}/nobody.sock", "--seconds", "5"]) == 1


def test_a_stop_that_comes_while_a_server_is_started_ends_that_one(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal may come at any instruction, also between the look at what is wanted and the new process."""
    server = CodeServer(SLEEPER, lambda: ALIVE, QUICK)
    start = server._start

    def interrupted_start() -> None:
        server.stop()
        start()

    monkeypatch.setattr(server, "_start", interrupted_start)
    supervisor = threading.Thread(target=server.run, daemon=True)
    supervisor.start()
    supervisor.join(30)
    assert not supervisor.is_alive()
