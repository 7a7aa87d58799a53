"""What a test of a connector found: one line for each thing that was looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sync_pipelines.errors import SyncError


class Verdict(StrEnum):
    """How a check ended."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True)
class Check:
    """One finished check."""

    name: str
    verdict: Verdict
    detail: str = ""
    next_command: str | None = None


def passed(name: str, detail: str = "") -> Check:
    """A check that found all well."""
    return Check(name, Verdict.PASSED, detail)


def failed(
    name: str,
    error: SyncError | str,
    next_command: str | None = None,
) -> Check:
    """A check that found trouble."""
    if isinstance(error, SyncError):
        return Check(
            name,
            Verdict.FAILED,
            error.what,
            error.next_command or next_command,
        )
    return Check(name, Verdict.FAILED, error, next_command)


def skipped(name: str, why: str) -> Check:
    """A check that could not or need not be made."""
    return Check(name, Verdict.SKIPPED, why)


def attempt(
    name: str,
    action: Callable[[], str],
    next_command: str | None = None,
) -> Check:
    """Run `action`; its text is the detail, an error of ours the failure."""
    try:
        return passed(name, action())
    except SyncError as error:
        return failed(name, error, next_command)
