"""`python -m sync_pipelines_tests.soak`: the long run of the state machine, or of random kills with `--kills N`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sync_pipelines_tests.soak", description=__doc__
    )
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES") or 5))
    parser.add_argument("--seed", type=int, help="repeat a run")
    parser.add_argument("--kind", help="only this kind of entity")
    parser.add_argument("--kills", type=int, help="kill so many syncs at random instants instead")
    options = parser.parse_args()
    os.environ["SOAK_MINUTES"] = str(options.minutes)
    if options.seed is not None:
        os.environ["SOAK_SEED"] = str(options.seed)
    if options.kind:
        os.environ["SOAK_KIND"] = options.kind
    test = "test_soak.py::test_the_promise_holds_for_a_long_time"
    if options.kills:
        os.environ["SOAK_KILLS"] = str(options.kills)
        test = "test_kills.py::test_many_random_kills_lose_and_double_nothing"
    return int(
        pytest.main([f"{Path(__file__).parent / test}", "-n", "0", "-q", "-p", "no:cacheprovider"])
    )


if __name__ == "__main__":
    sys.exit(main())
