"""Which columns of a table lose their clear values when masks are new or changed."""

from __future__ import annotations

from collections.abc import Callable, Collection

from sync_pipelines.destinations.hashes import distrust_hashes, is_trusted
from sync_pipelines.gate.remask import Remask
from sync_pipelines.model.entity import Column


def columns_to_clear(
    remask: Remask,
    there: Collection[str],
    *,
    stored_name: Callable[[str], str] = str,
    may_clear_keys: Callable[[], bool],
) -> list[Column]:
    """Columns of the table that hold clear values.

    Args:
        remask: which columns are masked from now on.
        there: names of the table's columns.
        stored_name: the name of a column as the destination keeps it.
        may_clear_keys: whether the table can lose a business key; asked only where one is masked.

    Raises:
        ConfigurationError: a business key among them, which the rows of the table cannot be without.
    """
    found = [
        column
        for column in remask.masks.entity.columns
        if column.name in remask.names and stored_name(column.target_name) in there
    ]
    keys = [column for column in found if column.is_business_key]
    if keys and not may_clear_keys():
        raise remask.refused_key(keys[0])
    return found


def distrust_cleared(table: str) -> str:
    """The statement after which every row is compared by content: its hash is still of the clear values."""
    return distrust_hashes(table, is_trusted())
