"""Random SIGKILLs with schema changes in flight: a few in `make test`, KILLS (200) in `make soak-kills`."""

from __future__ import annotations

import os
import random

import pytest

from sync_pipelines_tests.soak.kills import run_kills
from sync_pipelines_tests.world import World

KILLS = int(os.environ.get("SOAK_KILLS") or 0)
SEED = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**9))


def test_a_few_random_kills_lose_and_double_nothing(world: World) -> None:
    tally = run_kills(world, kills=3, seed=1)
    assert tally.killed >= 3
    assert tally.checks >= 1


@pytest.mark.skipif(not KILLS, reason="make soak-kills")
@pytest.mark.timeout(0)
def test_many_random_kills_lose_and_double_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n{KILLS} SIGKILLs, seed {SEED}", flush=True)
        tally = run_kills(world, KILLS, SEED)
        print(f"nothing lost, doubled or left behind: {tally}")
    assert tally.killed >= KILLS
