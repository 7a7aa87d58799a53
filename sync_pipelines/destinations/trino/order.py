"""Rowversions in the order of their codec, in Trino's SQL; the same order as `model.cursor.order_key`."""

from __future__ import annotations

from sync_pipelines.batches.records import MAX_ROWVERSION_CHARACTERS
from sync_pipelines.destinations.trino.quoting import literal
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.notations import NOTATIONS

_WIDTH = 100
_ISO = r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?(?:\.\d{1,9})?))?\s*(?:Z|([+-]\d{2}):?(\d{2}))?$"


def order_of(codec: Codec | None, expression: str) -> str | None:
    """SQL that orders the rowversions of a codec; NULL for what is not of it, None when only the source knows.

    Numbers of any width become text of one width: Trino's widest number has 38 digits.
    """
    match codec:
        case Codec.INTEGER:
            positive = f"'1' || lpad({expression}, {_WIDTH}, '0')"
            negative = f"'0' || translate(lpad(substr({expression}, 2), {_WIDTH}, '0'), '0123456789', '9876543210')"
            return (
                f"CASE WHEN regexp_like({expression}, '^[0-9]{{1,{_WIDTH}}}$') THEN {positive}"
                f" WHEN regexp_like({expression}, '^-[0-9]{{1,{_WIDTH}}}$') THEN {negative} END"
            )
        case Codec.HEX:
            digits = f"lower(regexp_replace({expression}, '^0[xX]', ''))"
            return (
                f"CASE WHEN regexp_like({expression}, '^(0[xX])?[0-9a-fA-F]+$') THEN lpad({digits},"
                f" {MAX_ROWVERSION_CHARACTERS}, '0') END"
            )
        case Codec.TIMESTAMP:
            text = f"replace(upper({expression}), ',', '.')"
            spelled = "m -> m[1] || ' ' || coalesce(m[2], '00:00') || ' ' || coalesce(m[3] || ':' || m[4], '+00:00')"
            return f"try_cast(regexp_replace({text}, '{_ISO}', {spelled}) AS timestamp(9) with time zone)"
        case Codec.TEXT | Codec.DIGITS:
            return expression
        case Codec.HTTP_DATE | Codec.CTIME | Codec.US_DATE | Codec.EU_DATE:
            notation = NOTATIONS[codec]
            pattern = literal(notation.pattern)
            return notation.order_sql(
                lambda group: f"regexp_extract({expression}, {pattern}, {group})"
            )
    return None
