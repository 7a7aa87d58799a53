"""Which answers of a source are asked for again, when, and how often."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.demo.twin import Fault, TwinServer
from sync_pipelines.errors import (
    AuthenticationError,
    GuardError,
    RetriableError,
    SourceBusyError,
    SourceContractError,
    SyncError,
)
from sync_pipelines.sources.http.failures import retry_after_seconds
from sync_pipelines.sources.http.traffic import Traffic
from sync_pipelines_tests.sources.http.session import PATH, Opener, Pauses


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_a_busy_source_is_asked_again(
    twin: TwinServer, open_session: Opener, pauses: Pauses, status: int
) -> None:
    twin.faults.add(Fault(status=status, times=2))
    traffic = Traffic()
    assert open_session().get(PATH, traffic=traffic)
    assert (traffic.requests, traffic.retries) == (3, 2)
    assert 0.5 <= pauses[0] <= 1.5
    assert 1 <= pauses[1] <= 3


def test_a_source_that_stays_busy_is_given_up_after_the_last_try(
    twin: TwinServer, open_session: Opener
) -> None:
    twin.faults.add(Fault(status=503, times=None))
    with pytest.raises(SourceBusyError, match=r"answered 503.*\(4 tries\)"):
        open_session(tries=4).get(PATH)
    assert len(twin.requests_log) == 4


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (400, SourceContractError),
        (404, SourceContractError),
        (405, SourceContractError),
        (410, SourceContractError),
        (418, SourceContractError),
        (204, SourceContractError),
        (206, SourceContractError),
        (301, GuardError),
        (307, GuardError),
    ],
)
def test_what_does_not_pass_is_not_tried_again(
    twin: TwinServer, open_session: Opener, status: int, error: type[SyncError]
) -> None:
    twin.faults.add(Fault(status=status, body=b"", times=None))
    with pytest.raises(error) as caught:
        open_session().get(PATH)
    assert not isinstance(caught.value, RetriableError)
    assert len(twin.requests_log) == 1


@pytest.mark.parametrize(("header", "seconds"), [("0", 0.0), ("7", 7.0), (" 12 ", 12.0)])
def test_retry_after_in_seconds_is_honoured(
    twin: TwinServer, open_session: Opener, pauses: Pauses, header: str, seconds: float
) -> None:
    twin.faults.add(Fault(status=429, headers={"Retry-After": header}))
    open_session().get(PATH)
    assert pauses == [seconds]


def test_retry_after_as_a_date_is_honoured(
    twin: TwinServer, open_session: Opener, pauses: Pauses
) -> None:
    from email.utils import formatdate

    twin.faults.add(
        Fault(status=503, headers={"Retry-After": formatdate(time.time() + 90, usegmt=True)})
    )
    open_session().get(PATH)
    assert 85 <= pauses[0] <= 91


@pytest.mark.parametrize("header", ["86400", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_huge_retry_after_ends_the_run_instead_of_holding_it(
    twin: TwinServer, open_session: Opener, pauses: Pauses, header: str
) -> None:
    twin.faults.add(Fault(status=429, headers={"Retry-After": header}, times=None))
    with pytest.raises(SourceBusyError):
        open_session().get(PATH)
    assert (len(twin.requests_log), pauses) == (1, [])


@pytest.mark.parametrize(
    "header",
    ["", "soon", "-5", "1.5", "²", "Mon, 99 Foo 2024", "Mon, 01 Jan 99999999999 00:00:00 GMT"],
)
def test_an_unreadable_retry_after_is_as_good_as_none(header: str) -> None:
    assert retry_after_seconds(header) is None


def test_a_retry_after_in_the_past_means_now() -> None:
    assert (
        retry_after_seconds("Fri, 01 Jan 1999 00:00:00 GMT", datetime(2024, 1, 1, tzinfo=UTC)) == 0
    )


@given(st.text(st.characters(max_codepoint=255), max_size=40))
def test_any_retry_after_is_seconds_or_nothing(header: str) -> None:
    seconds = retry_after_seconds(header)
    assert seconds is None or seconds >= 0
