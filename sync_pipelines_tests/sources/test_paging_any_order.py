"""Whatever happens in whatever order: once the source is quiet, one more sync has seen every row's last version."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sync_pipelines.errors import SourceContractError
from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines_tests.sources.simulated import Copy, Source

LOOKBACK_SECONDS = 20
KEYS = st.integers(0, 30)


class KeysetProtocol(RuleBasedStateMachine):
    """Writes, late commits, bursts of one second and syncs in any order; also while we read."""

    @initialize(
        codec=st.sampled_from([Codec.DIGITS, Codec.INTEGER]),
        page_size=st.integers(2, 8),
        cap=st.none() | st.integers(1, 8),
        unstable=st.booleans(),
    )
    def begin(self, codec: Codec, page_size: int, cap: int | None, unstable: bool) -> None:
        self.source = Source(codec, cap=(lambda: cap) if cap else None, unstable=unstable)
        self.copy = Copy(self.source, page_size, LOOKBACK_SECONDS)

    @rule(key=KEYS, delay=st.floats(0, LOOKBACK_SECONDS))
    def write(self, key: int, delay: float) -> None:
        self.source.write(key, delay)

    @rule(keys=st.sets(KEYS, min_size=1))
    def write_many_at_once(self, keys: set[int]) -> None:
        for key in keys:
            self.source.write(key)

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        self.source.tick(seconds)

    @rule(seed=st.integers(0, 1000), full=st.booleans())
    def sync_while_others_write(self, seed: int, full: bool) -> None:
        dice = random.Random(seed)

        def write_something(request: int) -> None:
            self.source.tick(dice.random() * 2)
            if request < 300:
                for _ in range(dice.randrange(3)):
                    self.source.write(
                        dice.randrange(31), dice.choice([0, dice.random() * LOOKBACK_SECONDS])
                    )

        first = self.source.requests
        self.source.on_fetch = lambda request: write_something(request - first)
        self.try_to_sync(full=full)
        self.source.on_fetch = lambda request: None

    @rule(request=st.integers(1, 5))
    def sync_with_an_answer_that_is_empty_by_mistake(self, request: int) -> None:
        self.source.empty_answers = {self.source.requests + request}
        self.try_to_sync()
        self.source.empty_answers = set()

    @rule()
    def sync(self) -> None:
        self.try_to_sync()

    def try_to_sync(self, *, full: bool = False) -> bool:
        """Tiny pages in a changing order can look as if the source ignored `page`: the run fails, the next may not."""
        try:
            self.copy.sync(full=full)
        except SourceContractError:
            return False
        return True

    @invariant()
    def the_cursor_is_below_every_version_that_is_not_copied_yet(self) -> None:
        if not hasattr(self, "source") or self.copy.cursor is None:
            return
        codec, cursor = self.source.codec, order_key(self.source.codec, self.copy.cursor)
        waiting = [*self.copy.missing.values(), *(row for _, row in self.source.pending)]
        assert all(order_key(codec, row.rowversion) > cursor for row in waiting)

    def teardown(self) -> None:
        if hasattr(self, "source"):
            self.source.tick(LOOKBACK_SECONDS + 1)
            self.copy.warnings.clear()
            assert any(self.try_to_sync() for _ in range(50))
            if not self.copy.warnings:
                assert self.copy.missing == {}


TestKeysetProtocol = KeysetProtocol.TestCase
TestKeysetProtocol.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
