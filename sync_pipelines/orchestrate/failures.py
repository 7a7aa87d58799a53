"""How a step fails: with our sentence, and without Dagster's stack trace above it.

Dagster shows the stack of whatever ends a step, unless the exception is a `DagsterUserCodeProcessError`, which brings
what is shown instead. That class is internal to Dagster; `orchestrate/test_failures.py` guards what we need of it.
"""

from __future__ import annotations

from typing import Any

import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError
from dagster_shared.error import SerializableErrorInfo

from sync_pipelines.errors import ConfigurationError, DatabaseRefusedError, SyncError
from sync_pipelines.secrets import redact


class _WithoutStack(DagsterUserCodeProcessError):
    """An error that Dagster shows as its sentence, without the stack of the place where it was raised."""

    user_code_process_error_infos: list[SerializableErrorInfo]

    def __init__(self, *arguments: Any) -> None:
        Exception.__init__(self, *arguments)
        self.user_code_process_error_infos = []


class StepFailure(dg.Failure, _WithoutStack):
    """The end of a step, in one sentence of ours; it is not tried again."""

    def __init__(self, sentence: str, metadata: dict[str, Any] | None = None) -> None:
        shown = redact(sentence)
        dg.Failure.__init__(self, shown, metadata, allow_retries=False)
        info = SerializableErrorInfo(shown, [], type(self).__name__)
        self.user_code_process_error_infos = [info]


class StepRetry(dg.RetryRequested, _WithoutStack):
    """The end of one attempt; the step is tried again."""

    def __init__(
        self,
        failure: StepFailure,
        max_retries: int,
        seconds: float,
    ) -> None:
        dg.RetryRequested.__init__(self, max_retries, seconds)
        self.user_code_process_error_infos = failure.user_code_process_error_infos
        self.__cause__ = failure


def skip_or_fail(error: SyncError) -> dg.SkipReason:
    """The result of a sensor's tick that an error ended.

    The tick is skipped where somebody must change something first.

    Raises:
        dg.Failure: anything else, also what the database refuses.
    """
    sentence = redact(str(error))
    if isinstance(error, DatabaseRefusedError):
        raise dg.Failure(sentence) from None
    if isinstance(error, ConfigurationError):
        return dg.SkipReason(sentence)
    raise dg.Failure(sentence) from None


def plain_failure(error: SyncError) -> dg.Failure:
    """The failure of an op or check that is no sync, in our sentence."""
    return dg.Failure(redact(str(error)))


def failure_of(error: SyncError) -> StepFailure:
    """A step failure that says what to do next."""
    metadata: dict[str, Any] = {
        "error": type(error).__name__,
        "code": error.code,
        "category": str(error.category),
    }
    for name, value in error.where.items():
        metadata[f"where_{name}"] = redact(str(value))
    if error.next_command:
        metadata["next_command"] = redact(error.next_command)
    return StepFailure(str(error), metadata)
