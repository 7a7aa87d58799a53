"""Trino's SQL for the rules that all destinations share."""

from __future__ import annotations

from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.model.quoting import literal

_WIDTH = 100
_DATE = r"(\d{4}-\d{2}-\d{2})"
_TIME = r"(?:[T ](\d{2}:\d{2}(?::\d{2})?(?:\.\d{1,9})?))?"
_ZONE = r"\s*(?:Z|([+-]\d{2}):?(\d{2}))?"
_ISO = f"^{_DATE}{_TIME}{_ZONE}$"


class TrinoDialect:
    """See `destinations.dialect.Dialect`."""

    now = "current_timestamp(6)"

    def quote(self, *names: str) -> str:
        """In lower case, as Trino keeps names."""
        return quote(*names)

    def matches(self, text: str, pattern: str) -> str:
        """By a function."""
        return f"regexp_like({text}, {literal(pattern)})"

    def group(self, text: str, pattern: str, number: int) -> str:
        """By a function."""
        return f"regexp_extract({text}, {literal(pattern)}, {number})"

    def bytewise(self, text: str) -> str:
        """Trino compares all texts so."""
        return text

    def whole_number(self, text: str) -> str:
        """As text of one width with a sign that sorts: Trino's widest number has 38 digits."""
        is_positive = self.matches(text, f"^[0-9]{{1,{_WIDTH}}}$")
        is_negative = self.matches(text, f"^-[0-9]{{1,{_WIDTH}}}$")
        positive = f"'1' || lpad({text}, {_WIDTH}, '0')"
        digits = f"lpad(substr({text}, 2), {_WIDTH}, '0')"
        negative = f"'0' || translate({digits}, '0123456789', '9876543210')"
        return f"CASE WHEN {is_positive} THEN {positive} WHEN {is_negative} THEN {negative} END"

    def moment(self, text: str) -> str:
        """As timestamp with time zone, from the parts that it must be spelled with."""
        spelled = f"replace(upper({text}), ',', '.')"
        time = "coalesce(m[2], '00:00')"
        zone = "coalesce(m[3] || ':' || m[4], '+00:00')"
        parts = f"m -> m[1] || ' ' || {time} || ' ' || {zone}"
        complete = f"regexp_replace({spelled}, {literal(_ISO)}, {parts})"
        return f"try_cast({complete} AS timestamp(9) with time zone)"


class HiveDialect(TrinoDialect):
    """Tables of the Hive connector, which know no zones: moments are kept in UTC."""

    now = "cast(current_timestamp(6) AT TIME ZONE 'UTC' AS timestamp(6))"


TRINO = TrinoDialect()
HIVE = HiveDialect()
