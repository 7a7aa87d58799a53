"""Rules in Python: a function from polars expressions to a boolean one, registered by name.

    from sync_pipelines.gate.rules import rule

    @rule
    def is_even(value: pl.Expr) -> pl.Expr:
        return value % 2 == 0

Files `*.py` in the folder of the gates are loaded before the gates are.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, overload

import polars as pl

from sync_pipelines.errors import GateDefinitionError
from sync_pipelines.gate.document import definition_fault

RuleFunction = Callable[..., pl.Expr]

_functions: dict[str, RuleFunction] = {}
_loaded: dict[Path, float] = {}
_lock = threading.RLock()


@overload
def rule(function: RuleFunction) -> RuleFunction: ...
@overload
def rule(*, name: str) -> Callable[[RuleFunction], RuleFunction]: ...


def rule(function: RuleFunction | None = None, *, name: str | None = None) -> Any:
    """Register a function that gates may name under `function:`.

    It gets one polars expression per column of the rule, then the rule's arguments by name, and returns a boolean
    expression, true where a record passes. It is called once when the gate is loaded, not once per record.
    """

    def register(registered: RuleFunction) -> RuleFunction:
        with _lock:
            _functions[name or registered.__name__] = registered
        return registered

    return register if function is None else register(function)


def registered_rules() -> dict[str, RuleFunction]:
    """The functions by name."""
    with _lock:
        return dict(_functions)


def signature_of(function: RuleFunction) -> str:
    """The function's parameters as a person reads them."""
    return str(inspect.signature(function))


def load_rule_files(folder: Path) -> None:
    """Load the Python files directly in a folder; those that changed since are loaded again.

    Raises:
        GateDefinitionError: one of them does not load.
    """
    with _lock:
        for path in sorted(folder.glob("*.py")):
            changed = path.stat().st_mtime
            if _loaded.get(path) != changed:
                _load(path)
                _loaded[path] = changed


def _load(path: Path) -> None:
    name = f"sync_pipelines_gate_rules_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise definition_fault(path, None, "it is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except GateDefinitionError:
        raise
    except Exception as error:  # a person's file may raise anything; the message names the file
        line = error.__traceback__
        while line is not None and line.tb_next is not None:
            line = line.tb_next
        raise definition_fault(
            path,
            line.tb_lineno if line else None,
            f"{type(error).__name__}: {error}",
        ) from error
