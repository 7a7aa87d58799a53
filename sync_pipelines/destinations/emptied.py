"""Fields that no record of a run has although rows of the table have values there: a source that renamed them would
empty the column.
"""

from __future__ import annotations

from sync_pipelines.books.publish_plan import PublishPlan
from sync_pipelines.errors import SourceContractError
from sync_pipelines.model.entity import Column

MIN_EMPTIED = 10
"""Values of a column that a run may take away unasked: a source may leave out what is null."""


def columns_to_check(plan: PublishPlan) -> list[Column]:
    """Columns of which a run may take all values away, so that those must be counted."""
    if plan.accept_vanished or plan.released or plan.fetched < MIN_EMPTIED:
        return []
    return [column for column in plan.entity.columns if column.name in plan.absent and not column.is_business_key]


def refuse_emptied(plan: PublishPlan, values: dict[str, int]) -> None:
    """Stop a run that would empty a column.

    Args:
        plan: of the run.
        values: by column, how many rows would lose their value; none where a record has one.

    Raises:
        SourceContractError: for some column they are too many for a coincidence.
    """
    emptied = {name: count for name, count in values.items() if count >= MIN_EMPTIED}
    if not emptied:
        return
    entity = plan.entity
    told = ", ".join(f"{name} ({count} values)" for name, count in emptied.items())
    raise SourceContractError(
        f"None of {plan.fetched} records has a field that the table has values of: {told}. They would all become null.",
        where=dict(entity.where),
        next_command=f"where the source renamed it, sync-pipelines discover {entity.connector}, or the new name"
        " under `columns` or `mapping` of the"
        f" connector's file; where the values are gone, sync-pipelines sync {entity.path} --full-refresh"
        " --accept-vanished",
    )
