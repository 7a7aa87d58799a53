"""Rowversions in the order of their codec, as SQL; the same order as `model.cursor.order_key`."""

from __future__ import annotations

from sync_pipelines.batches.records import MAX_ROWVERSION_CHARACTERS
from sync_pipelines.destinations.dialect import Dialect
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.notations import NOTATIONS

_HEX = "^(0[xX])?[0-9a-fA-F]+$"


def order_of(dialect: Dialect, codec: Codec | None, text: str) -> str | None:
    """SQL that orders the rowversions of a codec; None when only the source knows.

    A read by page number takes rowversions of any form, and such rows may still be in the table: what is not
    of the codec becomes NULL instead of an error.

    Args:
        dialect: of the destination.
        codec: that orders the rowversions.
        text: an expression, the rowversion.
    """
    match codec:
        case Codec.INTEGER:
            return dialect.whole_number(text)
        case Codec.TIMESTAMP:
            return dialect.moment(text)
        case Codec.TEXT | Codec.DIGITS:
            return dialect.bytewise(text)
        case Codec.HEX:
            return dialect.bytewise(_padded_hex(dialect, text))
        case Codec.HTTP_DATE | Codec.CTIME | Codec.US_DATE | Codec.EU_DATE:
            notation = NOTATIONS[codec]
            digits = notation.order_sql(
                lambda number: dialect.group(text, notation.pattern, number)
            )
            return dialect.bytewise(digits)
    return None


def _padded_hex(dialect: Dialect, text: str) -> str:
    """Hexadecimal digits of one width, so that their texts sort as their numbers do."""
    digits = f"lower(regexp_replace({text}, '^0[xX]', ''))"
    padded = f"lpad({digits}, {MAX_ROWVERSION_CHARACTERS}, '0')"
    return f"CASE WHEN {dialect.matches(text, _HEX)} THEN {padded} END"
