"""The state machine, short in `make test` and always the same, long in `make soak` and always another."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import hypothesis
import psycopg
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test

from sync_pipelines.catalog.database import Database
from sync_pipelines.settings import Settings
from sync_pipelines_tests.soak.machine import SoakMachine
from sync_pipelines_tests.soak.source import KINDS, PAGE_SIZE, Ground

MINUTES = float(os.environ.get("SOAK_MINUTES", 0))
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**9))
EXAMPLES_OF_A_ROUND = 4
SHORT_KINDS = ("digits", "integer", "full")
COMMON = hypothesis.settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    report_multiple_bugs=False,
)


@pytest.fixture
def ground(database: Database, settings: Settings) -> Iterator[Ground]:
    """One database for a whole run of the machine; every example has a connector and schemas of its own."""
    settings = settings.model_copy(update={"max_page_size": PAGE_SIZE, "entity_wait_seconds": 10.0})
    with psycopg.connect(database.url, autocommit=True) as connection:
        yield Ground(database, settings, connection)


def run(ground: Ground, kind: str, settings: hypothesis.settings, seed: int | None = None) -> None:
    machine = type(
        f"Soak_{kind.replace(' ', '_')}", (SoakMachine,), {"ground": ground, "kind": kind}
    )
    if seed is not None:
        machine = hypothesis.seed(seed)(machine)
    run_state_machine_as_test(machine, settings=settings)


@pytest.mark.parametrize("kind", SHORT_KINDS)
def test_the_promise_holds_whatever_happens(ground: Ground, kind: str) -> None:
    # No shrinking here: `make soak` shrinks.
    settings = hypothesis.settings(
        COMMON, max_examples=2, stateful_step_count=12, derandomize=True, phases=[Phase.generate]
    )
    run(ground, kind, settings)
    assert ground.syncs >= 2


@pytest.mark.skipif(not MINUTES, reason="make soak")
@pytest.mark.timeout(0)
def test_the_promise_holds_for_a_long_time(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = [kind for kind in KINDS if os.environ.get("SOAK_KIND", kind) == kind]
    phases = [Phase.generate, *([Phase.shrink] if os.environ.get("SOAK_SHRINK") else [])]
    settings = hypothesis.settings(
        COMMON, max_examples=EXAMPLES_OF_A_ROUND, stateful_step_count=30, phases=phases
    )
    with capsys.disabled():
        print(f"\nsoak of {MINUTES:g} minutes, seed {SEED}", flush=True)
        ends_at, number = time.monotonic() + MINUTES * 60, 0
        while time.monotonic() < ends_at or number == 0:
            kind = kinds[(SEED + number) % len(kinds)]
            try:
                run(ground, kind, settings, SEED + number)
            except BaseException:
                print(f"failed as {kind!r} in round {number} of seed {SEED}; to repeat it:")
                print(
                    f"  SOAK_KIND={kind!r} python -m sync_pipelines_tests.soak --minutes 0.01 --seed {SEED + number}",
                    flush=True,
                )
                raise
            number += 1
            print(f"  {kind:<18}{_done(ground)}", flush=True)
        print(f"no fault found: {_done(ground)}")


def _done(ground: Ground) -> str:
    return (
        f"{ground.examples} examples, {ground.steps} steps, {ground.syncs} syncs ({ground.failed} failed"
        " as they should),"
        f" {ground.kills} kills"
    )
