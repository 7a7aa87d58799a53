"""The fence: a run that somebody closed while it worked cannot publish, and nobody can close one that publishes."""

from __future__ import annotations

from typing import Any

from sync_pipelines.errors import SupersededRunError
from sync_pipelines.model.publish import PublishRequest
from sync_pipelines.model.quoting import literal, quote


def fence(cursor: Any, request: PublishRequest) -> None:
    """Lock the run's row until the transaction ends.

    A run that is published already is closed, so that it is not published twice.

    Args:
        cursor: with rows as tuples, in the transaction that publishes.
        request: of the run.

    Raises:
        SupersededRunError: the run is not open any more.
    """
    run = literal(str(request.run_uid))
    cursor.execute(
        f"SELECT status FROM {quote(request.bridge_schema)}.sync_runs WHERE uid = {run} FOR UPDATE"
    )
    row = cursor.fetchone()
    if row is None or row[0] != "running":
        raise SupersededRunError(
            f"The run {request.run_uid} was closed by another one while it worked.",
            where=dict(request.entity.where),
            next_command=f"sync-pipelines runs {request.entity.path}",
        )
