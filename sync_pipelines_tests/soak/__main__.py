"""`python -m sync_pipelines_tests.soak --minutes N --seed S`: the long run of the state machine."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import pytest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sync_pipelines_tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES") or 5))
    parser.add_argument("--seed", type=int, help="repeat a run")
    parser.add_argument("--kind", help="only this kind of entity")
    options = parser.parse_args()
    os.environ["SOAK_MINUTES"] = str(options.minutes)
    if options.seed is not None:
        os.environ["SOAK_SEED"] = str(options.seed)
    if options.kind:
        os.environ["SOAK_KIND"] = options.kind
    test = f"{Path(__file__).parent / 'test_soak.py'}::test_the_promise_holds_for_a_long_time"
    return int(pytest.main([test, "-n", "0", "-q", "-p", "no:cacheprovider"]))


if __name__ == "__main__":
    sys.exit(main())
