"""How a step fails: with our sentence, and without Dagster's stack trace above it.

Dagster shows the stack of whatever ends a step, unless the exception carries an error of its own
(`DagsterUserCodeProcessError`); the seam is internal, and `orchestrate/test_failures.py` guards it.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError
from dagster_shared.error import SerializableErrorInfo

from sync_pipelines.errors import SyncError
from sync_pipelines.secrets import redact


class _Told(DagsterUserCodeProcessError):
    """An error that Dagster shows as its sentence, without the stack of the place where it was raised."""

    def __init__(self, *arguments: Any) -> None:
        Exception.__init__(self, *arguments)
        self.user_code_process_error_infos: list[SerializableErrorInfo] = []


class StepFailure(dg.Failure, _Told):
    """The end of a step, in one sentence of ours; it is not tried again."""

    def __init__(self, sentence: str, metadata: dict[str, Any] | None = None) -> None:
        dg.Failure.__init__(self, redact(sentence), metadata, allow_retries=False)
        self.user_code_process_error_infos = [
            SerializableErrorInfo(redact(sentence), [], type(self).__name__)
        ]


class StepRetry(dg.RetryRequested, _Told):
    """The end of one attempt; the step is tried again."""

    def __init__(self, failure: StepFailure, max_retries: int, seconds: float) -> None:
        dg.RetryRequested.__init__(self, max_retries, seconds)
        self.user_code_process_error_infos = failure.user_code_process_error_infos
        self.__cause__ = failure


def failure_of(error: SyncError) -> StepFailure:
    """A step failure that says what to do next."""
    metadata: dict[str, Any] = {
        "error": type(error).__name__,
        "code": error.code,
        "category": str(error.category),
    }
    metadata |= {f"where_{name}": redact(str(value)) for name, value in error.where.items()}
    if error.next_command:
        metadata["next_command"] = redact(error.next_command)
    return StepFailure(str(error), metadata)
