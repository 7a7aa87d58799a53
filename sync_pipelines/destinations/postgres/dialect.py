"""PostgreSQL's SQL for the rules that all destinations share."""

from __future__ import annotations

from sync_pipelines.model.quoting import literal, quote


class PostgresDialect:
    """See `destinations.dialect.Dialect`."""

    now = "now()"

    def quote(self, *names: str) -> str:
        """As PostgreSQL keeps names."""
        return quote(*names)

    def matches(self, text: str, pattern: str) -> str:
        """By the operator of regular expressions."""
        return f"{text} ~ {literal(pattern)}"

    def group(self, text: str, pattern: str, number: int) -> str:
        """By the array of groups."""
        return f"(regexp_match({text}, {literal(pattern)}))[{number}]"

    def bytewise(self, text: str) -> str:
        """By a collation, since the database may have another one."""
        return f'({text}) COLLATE "C"'

    def whole_number(self, text: str) -> str:
        """As numeric, which has room for any rowversion."""
        return f"CASE WHEN {self.matches(text, '^-?[0-9]+$')} THEN ({text})::numeric END"

    def moment(self, text: str) -> str:
        """As timestamptz."""
        is_date = self.matches(text, "^[0-9]{4}-")
        return f"CASE WHEN {is_date} THEN replace({text}, ',', '.')::timestamptz END"


POSTGRES = PostgresDialect()
