"""Fields that no record of a run has although rows of the table have values there: a source that renamed them would
empty the column.
"""

from __future__ import annotations

from sync_pipelines.destinations.dialect import Quote
from sync_pipelines.errors import SourceContractError
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.staged import staged_places

MIN_EMPTIED = 10
"""Values of a column that a run may take away unasked: a source may leave out what is null."""


def columns_to_check(request: PublishRequest, read: ReadResult) -> list[Column]:
    """Columns of which a run may take all values away, so that those must be counted."""
    if request.accept_vanished or request.released or read.fetched < MIN_EMPTIED:
        return []
    return [
        column
        for column in request.entity.columns
        if column.name in read.absent and not column.is_business_key
    ]


def count_values(
    quote: Quote,
    columns: list[Column],
    entity: Entity,
    joined: str,
) -> str:
    """The query that counts, for each of these columns, live rows that would lose a value; none where a record has one.

    Args:
        quote: of the destination.
        columns: to count.
        entity: whose columns.
        joined: the staged records s with their live rows t; a record without one is there, too.
    """
    places = staged_places(entity)
    counts = []
    for column in columns:
        sent = f"count(s.{places[column.name]})"
        stored = f"count(t.{quote(column.target_name)})"
        counts.append(f"CASE WHEN {sent} = 0 THEN {stored} ELSE 0 END")
    return f"SELECT {', '.join(counts)} FROM {joined}"


def refuse_emptied(
    request: PublishRequest,
    read: ReadResult,
    values: dict[str, int],
) -> None:
    """Stop a run that would empty a column.

    Args:
        request: of the run.
        read: of the run.
        values: by column, how many rows would lose their value; none where a record has one.

    Raises:
        SourceContractError: for some column they are too many for a coincidence.
    """
    emptied = {name: count for name, count in values.items() if count >= MIN_EMPTIED}
    if not emptied:
        return
    entity = request.entity
    shown = ", ".join(f"{name} ({count} values)" for name, count in emptied.items())
    raise SourceContractError(
        f"None of {read.fetched} records has a field that the table has values of: {shown}."
        " They would all become null.",
        where=dict(entity.where),
        next_command=f"where the source renamed it, sync-pipelines discover {entity.connector}, or the new name"
        " under `columns` or `mapping` of the connector's file; where the values are gone, sync-pipelines sync"
        f" {entity.path} --full-refresh --accept-vanished",
    )
