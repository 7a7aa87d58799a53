"""A write whose row version is older than the moment it becomes visible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sync_pipelines.demo.twin.rows import NULL_ROWVERSION, Record, Rowversion

if TYPE_CHECKING:
    from sync_pipelines.demo.twin.table import TwinTable


class Pending:
    """A write that has its row version but is not visible yet: a late commit."""

    def __init__(self, table: TwinTable, record: Record, rowversion: Rowversion) -> None:
        self.table = table
        self.record = record
        self.rowversion = rowversion
        self.is_open = True

    def commit(self) -> Rowversion:
        """Make the write visible with the row version taken at `begin()`."""
        self._close()
        return self.table.put(
            self.record, NULL_ROWVERSION if self.rowversion is None else self.rowversion
        )

    def rollback(self) -> None:
        """Forget the write."""
        self._close()

    def _close(self) -> None:
        if not self.is_open:
            raise RuntimeError("this write is already committed or rolled back")
        self.is_open = False
