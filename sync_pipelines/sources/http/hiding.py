"""Errors about answers whose values are masked, without any of those values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sync_pipelines.errors import BrokenPageError, FatalError, SyncError


@contextmanager
def hiding(hides: bool) -> Iterator[None]:
    """No error raised inside shows any of the clear values.

    Raises:
        BrokenPageError, SyncError: one from inside, without how the answer begins.
        FatalError: in place of what is no error of ours; those of ours hold no values and come through.
    """
    try:
        yield
    except Exception as error:
        if not hides:
            raise
        if isinstance(error, SyncError) and (
            isinstance(error, BrokenPageError) or error.excerpt is not None
        ):
            raise type(error)(
                f"{error.without_excerpt}; how it begins is not shown, since it may hold what is masked.",
                where=error.where,
                state=error.state,
                next_command=error.next_command,
                status=error.status,
                answered=error.answered,
            ) from None
        if isinstance(error, SyncError):
            raise
        raise FatalError(
            f"The records could not be judged ({type(error).__name__}); the reason is not shown, since the entity"
            " has masks."
        ) from None
