"""The statements that compare staged records with the table and write what differs; t is the target, s the staging."""

from __future__ import annotations

from sync_pipelines.destinations.contrary import contrary_pairs
from sync_pipelines.destinations.dialect import Dialect
from sync_pipelines.destinations.emptied import count_values
from sync_pipelines.destinations.rows import (
    Values,
    assignments,
    deleted_values,
    record_values,
    revised_values,
)
from sync_pipelines.destinations.trino.dialect import TRINO
from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.vanished import not_among
from sync_pipelines.destinations.verdicts import age_among_records, rules_of
from sync_pipelines.destinations.verdicts import match_keys as match_quoted_keys
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.publish import PublishRequest, ReadResult
from sync_pipelines.model.staged import staged_keys, staged_places


class Statements:
    """SQL of one run.

    Args:
        request: of the run.
        read: of the run.
        target: the quoted table.
        staged: a relation with the columns of `staging.record_fields`.
    """

    dialect: Dialect = TRINO

    def __init__(
        self,
        request: PublishRequest,
        read: ReadResult,
        target: str,
        staged: str,
    ) -> None:
        self.request = request
        self.read = read
        self.entity = request.entity
        self.target = target
        self.staged = staged
        self.keys = ", ".join(staged_keys(self.entity))
        self.rules = rules_of(self.dialect, request, read)
        self.match = self.rules.match

    @property
    def marker(self) -> str:
        """A comment by which a statement is found again."""
        return f"/* {entity_marker(self.entity)} {run_marker(self.request)} */ "

    def count_staged(self) -> str:
        """Staged records, different keys, and records without a key (there must be none)."""
        no_key = " OR ".join(f"{key} IS NULL" for key in staged_keys(self.entity))
        by_key = f"SELECT {self.keys}, count(*) AS n FROM {self.staged} GROUP BY {self.keys}"
        return (
            f"SELECT coalesce(sum(n), 0), count(*), coalesce(sum(if({no_key}, n)), 0)"
            f" FROM ({by_key}) d"
        )

    def keep_winners(self) -> None:
        """Look only at the newest record of every key."""
        places = staged_places(self.entity).values()
        own = ["arrival", "rowversion", "hash", *self.entity.flags]
        names = ", ".join([*own, *places])
        age = age_among_records(self.dialect, self.request, self.read)
        aged = f"SELECT *, {age} AS age FROM {self.staged}"
        self.staged = f"(SELECT {names} FROM ({aged}) a WHERE age = 1)"

    def compare(self) -> str:
        """Verdicts with their numbers; see `destinations.verdicts.Counts`."""
        verdicts = f"SELECT {self.rules.verdict} AS verdict FROM {self.joined}"
        return f"SELECT verdict, count(*) FROM ({verdicts}) v GROUP BY verdict"

    def contrary_pairs(self) -> str:
        """See `destinations.contrary`."""
        return contrary_pairs(self.joined, f"{self.rules.verdict} = 'contrary'")

    def count_values(self, columns: list[Column]) -> str:
        """See `destinations.emptied`."""
        joined = f"{self.joined} AND NOT t._bridge_deleted"
        return count_values(quote, columns, self.entity, joined)

    @property
    def joined(self) -> str:
        """The staged records s with their rows t, where there are any."""
        return f"{self.staged} s LEFT JOIN {self.target} t ON {self.match}"

    def fill(self) -> str:
        """Insert the winners into an empty table."""
        values = self._inserted()
        return (
            f"{self.marker}INSERT INTO {self.target} ({', '.join(values)})"
            f" SELECT {', '.join(values.values())} FROM {self.staged} s"
        )

    def merge(self, gone: str | None) -> str:
        """Insert, update and soft-delete in one commit.

        Args:
            gone: condition over t of rows to mark as deleted, None when there are none.
        """
        rules = self.rules
        revised = revised_values(self.dialect, self.entity, rules.moves)
        changes = assignments(revised)
        inserted = self._inserted()
        delete = ""
        if gone is not None:
            deletion = assignments(deleted_values(self.dialect))
            delete = f" WHEN MATCHED AND s.gone THEN UPDATE SET {deletion}"
        return (
            f"{self.marker}MERGE INTO {self.target} t USING ({self._source(gone)}) s ON {self.match}"
            f"{delete} WHEN MATCHED AND NOT s.gone AND {rules.writes} THEN UPDATE SET {changes}"
            f" WHEN NOT MATCHED THEN INSERT ({', '.join(inserted)})"
            f" VALUES ({', '.join(inserted.values())})"
        )

    def _source(self, gone: str | None) -> str:
        """What is merged: the winners, and the rows that go, which are not among them."""
        entity = self.entity
        places = staged_places(entity)
        of_table = {
            "rowversion": "_bridge_rowversion",
            "hash": "_bridge_hash",
            **entity.flags,
        }
        for column in entity.columns:
            of_table[places[column.name]] = quote(column.target_name)
        records = ", ".join(f"s.{name}" for name in of_table)
        source = f"SELECT {records}, false AS gone FROM {self.staged} s"
        if gone is None:
            return source
        rows = ", ".join(f"t.{name}" for name in of_table.values())
        return f"{source} UNION ALL SELECT {rows}, true FROM {self.target} t WHERE {gone}"

    def lasting(self, candidates: str) -> str:
        """Arrival numbers of those staged records that are what their row is to be: the newest of their key, and not
        stale.

        Args:
            candidates: a relation with the column `arrival`.
        """
        return (
            f"SELECT s.arrival FROM {self.staged} s JOIN {candidates} c ON c.arrival = s.arrival"
            f" LEFT JOIN {self.target} t ON {self.match}"
            f" WHERE t._bridge_id IS NULL OR NOT {self.rules.stale}"
        )

    def absent(self, rejected: str | None) -> str:
        """Condition over t: a live row that the read did not bring, and whose key is not among its rejects.

        Args:
            rejected: a relation with the keys of the rejects, columns as in the staging; None when there are none.
        """
        conditions = ["NOT t._bridge_deleted", not_among(self.staged, self.match)]
        if rejected is not None:
            conditions.append(not_among(rejected, self.match))
        return " AND ".join(conditions)

    def _inserted(self) -> Values:
        values = record_values(quote, self.entity)
        now = self.dialect.now
        return values | {
            "_bridge_id": "uuid()",
            "_bridge_created_at": now,
            "_bridge_updated_at": now,
            "_bridge_deleted": "false",
        }


def match_keys(entity: Entity) -> str:
    """Condition that the keys of t and s are the same."""
    return match_quoted_keys(quote, entity)


def entity_marker(entity: Entity) -> str:
    """Text that every write of an entity carries."""
    return f"sync_pipelines entity {entity.uid}"


def run_marker(request: PublishRequest) -> str:
    """Text that only the writes of one run carry."""
    return f"run {request.run_uid}"
