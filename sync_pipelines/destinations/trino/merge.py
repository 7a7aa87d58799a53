"""The statements that compare staged records with the table and write what differs; t is the target, s the staging."""

from __future__ import annotations

from sync_pipelines.destinations.trino.order import order_of
from sync_pipelines.destinations.trino.quoting import literal, quote
from sync_pipelines.destinations.verdicts import Dialect, rules_of
from sync_pipelines.destinations.verdicts import match_keys as match_quoted_keys
from sync_pipelines.model.entity import REJECTED_COLUMN, Column, Entity
from sync_pipelines.model.publish import PublishRequest, ReadResult

NOW = "current_timestamp(6)"


DIALECT = Dialect(quote, literal, order_of)


class Statements:
    """SQL of one run.

    Args:
        request: of the run.
        read: of the run.
        target: the quoted table.
        staged: a relation with the columns of `staging.record_fields`.
    """

    def __init__(self, request: PublishRequest, read: ReadResult, target: str, staged: str) -> None:
        entity = request.entity
        self.request, self.entity, self.target, self.staged = request, entity, target, staged
        self.places = {column.name: f"c{index}" for index, column in enumerate(entity.columns)}
        self.keys = [self.places[column.name] for column in entity.business_keys]
        self.rules = rules_of(DIALECT, request, read)
        self.match = self.rules.match
        self.flags = entity.flags
        self.prefix = literal(f"{entity.columns_fingerprint}:")
        self._codec = read.order

    @property
    def marker(self) -> str:
        """A comment by which a statement is found again."""
        return f"/* {entity_marker(self.entity)} {run_marker(self.request)} */ "

    def count_staged(self) -> str:
        """Staged records, different keys, and records without a key (there must be none)."""
        no_key = " OR ".join(f"{key} IS NULL" for key in self.keys)
        return (
            f"SELECT coalesce(sum(n), 0), count(*), coalesce(sum(if({no_key}, n)), 0)"
            f" FROM (SELECT {', '.join(self.keys)}, count(*) AS n FROM {self.staged} GROUP BY {', '.join(self.keys)}) d"
        )

    def keep_winners(self) -> None:
        """Look only at the newest record of every key: highest rowversion, then the one read last."""
        order = [
            f"{expression} DESC NULLS LAST"
            for expression in [order_of(self._codec, "rowversion")]
            if expression
        ]
        names = ", ".join(["arrival", "rowversion", "hash", *self.flags, *self.places.values()])
        self.staged = (
            f"(SELECT {names} FROM (SELECT *, row_number() OVER (PARTITION BY {', '.join(self.keys)}"
            f" ORDER BY {', '.join([*order, 'arrival DESC'])}) AS age FROM {self.staged}) a WHERE age = 1)"
        )

    def compare(self) -> str:
        """Verdicts with their numbers; see `destinations.verdicts.Counts`."""
        verdicts = f"SELECT {self.rules.verdict} AS verdict FROM {self._joined}"
        return f"SELECT verdict, count(*) FROM ({verdicts}) v GROUP BY verdict"

    def contrary_pairs(self) -> str:
        """Some rowversions of contrary records, with those of their rows."""
        return (
            f"SELECT s.rowversion, t._bridge_rowversion FROM {self._joined}"
            f" WHERE {self.rules.verdict} = 'contrary' ORDER BY 1 LIMIT 3"
        )

    @property
    def _joined(self) -> str:
        return f"{self.staged} s LEFT JOIN {self.target} t ON {self.match}"

    def count_values(self, columns: list[Column]) -> str:
        """For each of these columns, how many live rows would lose a value; none where a record has one."""
        lost = (
            f"if(count(s.{self.places[column.name]}) = 0, count(t.{_q(column)}), 0)"
            for column in columns
        )
        return (
            f"SELECT {', '.join(lost)} FROM {self.staged} s JOIN {self.target} t ON {self.match}"
            " WHERE NOT t._bridge_deleted"
        )

    def fill(self) -> str:
        """Insert the winners into an empty table."""
        names, values = self._inserted()
        return (
            f"{self.marker}INSERT INTO {self.target} ({names}) SELECT {values} FROM {self.staged} s"
        )

    def merge(self, gone: str | None) -> str:
        """Insert, update and soft-delete in one commit.

        Args:
            gone: condition over t of rows to mark as deleted, None when there are none.
        """
        rules = self.rules
        columns = ["rowversion", "hash", *self.flags, *self.places.values()]
        source = f"SELECT {', '.join(f's.{name}' for name in columns)}, false AS gone FROM {self.staged} s"
        delete = ""
        if gone is not None:
            of_table = {"rowversion": "_bridge_rowversion", "hash": "_bridge_hash", **self.flags}
            of_table |= {self.places[column.name]: _q(column) for column in self.entity.columns}
            source += (
                f" UNION ALL SELECT {', '.join(f't.{of_table[name]}' for name in columns)}, true"
                f" FROM {self.target} t WHERE {gone}"
            )
            delete = f" WHEN MATCHED AND s.gone THEN UPDATE SET _bridge_deleted = true, _bridge_updated_at = {NOW}"
        content = [
            f"{_q(column)} = s.{self.places[column.name]}"
            for column in self.entity.columns
            if not column.is_business_key
        ]
        content += [f"{column} = s.{name}" for name, column in self.flags.items()]
        content += [f"{REJECTED_COLUMN} = NULL"] if self.entity.has_rejected else []
        content += [
            f"_bridge_hash = {self.prefix} || s.hash",
            "_bridge_rowversion = s.rowversion",
            "_bridge_deleted = false",
            f"_bridge_updated_at = CASE WHEN {rules.moves} THEN {NOW} ELSE t._bridge_updated_at END",
        ]
        names, values = self._inserted()
        return (
            f"{self.marker}MERGE INTO {self.target} t USING ({source}) s ON {self.match}{delete}"
            f" WHEN MATCHED AND NOT s.gone AND NOT {rules.stale} AND ({rules.moves} OR {rules.touched}) THEN UPDATE"
            f" SET {', '.join(content)}"
            f" WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
        )

    def standing(self, candidates: str) -> str:
        """Arrival numbers of those staged records that are what their row is to be: the newest of their key, and not
        stale.

        Args:
            candidates: a relation with the column `arrival`.
        """
        return (
            f"SELECT s.arrival FROM {self.staged} s JOIN {candidates} c ON c.arrival = s.arrival"
            f" LEFT JOIN {self.target} t ON {self.match} WHERE t._bridge_id IS NULL OR NOT {self.rules.stale}"
        )

    def absent(self, held: str | None) -> str:
        """Condition over t: a live row that the read did not bring, and whose key did not go to quarantine.

        Args:
            held: a relation with the keys in quarantine, columns as in the staging; None when there are none.
        """
        condition = f"NOT t._bridge_deleted AND NOT EXISTS (SELECT 1 FROM {self.staged} s WHERE {self.match})"
        if held is not None:
            condition += f" AND NOT EXISTS (SELECT 1 FROM {held} s WHERE {self.match})"
        return condition

    def _inserted(self) -> tuple[str, str]:
        names = [_q(column) for column in self.entity.columns]
        values = [f"s.{self.places[column.name]}" for column in self.entity.columns]
        own = {
            "_bridge_id": "uuid()",
            "_bridge_created_at": NOW,
            "_bridge_updated_at": NOW,
            "_bridge_hash": f"{self.prefix} || s.hash",
            "_bridge_deleted": "false",
            "_bridge_rowversion": "s.rowversion",
            **{column: f"s.{name}" for name, column in self.flags.items()},
        }
        return ", ".join([*names, *own]), ", ".join([*values, *own.values()])


def match_keys(entity: Entity) -> str:
    """Condition that the keys of t and s are the same."""
    return match_quoted_keys(quote, entity)


def entity_marker(entity: Entity) -> str:
    """Text that every write of an entity carries."""
    return f"sync_pipelines entity {entity.uid}"


def run_marker(request: PublishRequest) -> str:
    """Text that only the writes of one run carry."""
    return f"run {request.run_uid}"


def _q(column: Column) -> str:
    return quote(column.target_name)
