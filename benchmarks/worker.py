"""One task in a separate process: `python -m benchmarks.worker MODULE:FUNCTION PLACE`.

The result is its last line.
"""

from __future__ import annotations

import importlib
import json
import sys

from benchmarks.measure import Place


def main() -> None:
    """Run the task that the command line names."""
    module, _, function = sys.argv[1].partition(":")
    place = Place(**json.loads(sys.argv[2]))
    result = getattr(importlib.import_module(f"benchmarks.{module}"), function)(place)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
