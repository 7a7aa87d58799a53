"""Rowversions in the order of their codec, in PostgreSQL's SQL; the same order as `model.cursor.order_key`."""

from __future__ import annotations

from sync_pipelines.batches.records import MAX_ROWVERSION_CHARACTERS
from sync_pipelines.model.cursor import Codec
from sync_pipelines.model.notations import NOTATIONS
from sync_pipelines.model.quoting import literal


def order_of(codec: Codec | None, expression: str) -> str | None:
    """SQL that orders the rowversions of a codec; None when only the source knows.

    A read by page number takes rowversions of any form, and such rows may still be in the table: what is not
    of the codec becomes NULL instead of an error.
    """
    match codec:
        case Codec.INTEGER:
            return f"CASE WHEN {expression} ~ '^-?[0-9]+$' THEN ({expression})::numeric END"
        case Codec.HEX:
            digits = f"lower(regexp_replace({expression}, '^0[xX]', ''))"
            is_hex = f"{expression} ~ '^(0[xX])?[0-9a-fA-F]+$'"
            return f"""(CASE WHEN {is_hex} THEN lpad({digits}, {MAX_ROWVERSION_CHARACTERS}, '0') END) COLLATE "C" """
        case Codec.TIMESTAMP:
            return f"CASE WHEN {expression} ~ '^[0-9]{{4}}-' THEN replace({expression}, ',', '.')::timestamptz END"
        case Codec.TEXT | Codec.DIGITS:
            return f'({expression}) COLLATE "C"'
        case Codec.HTTP_DATE | Codec.CTIME | Codec.US_DATE | Codec.EU_DATE:
            notation = NOTATIONS[codec]
            pattern = literal(notation.pattern)
            order = notation.order_sql(
                lambda group: f"(regexp_match({expression}, {pattern}))[{group}]"
            )
            return f'({order}) COLLATE "C"'
    return None
