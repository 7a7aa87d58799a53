"""Random changes that keep every value within its declared type."""

from __future__ import annotations

import random
import re
import string
import typing as t
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from sync_pipelines.demo.twin.rows import Key, Record
from sync_pipelines.demo.twin.schema import TwinColumn

if t.TYPE_CHECKING:
    from sync_pipelines.demo.twin.table import TwinTable

_TYPE = re.compile(
    r"\s*([A-Za-z0-9_ ]+?)\s*(?:\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?[A-Za-z ]*\)\s*([A-Za-z ]*))?$"
)
_INTEGERS = {"INT": 9, "INTEGER": 9, "INT4": 9, "BIGINT": 18, "INT8": 18, "SMALLINT": 4, "INT2": 4}
_FLOATS = ("DOUBLE", "DOUBLE PRECISION", "FLOAT", "REAL", "BINARY_DOUBLE", "FLOAT8")
_FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_ALPHABET = string.ascii_uppercase + string.digits


def mutate(
    table: TwinTable, changes: int = 0, inserts: int = 0, deletes: int = 0, seed: int = 0
) -> dict[str, t.Any]:
    """Delete, change and insert random rows; return the keys of each.

    The same seed on the same table does the same. Fewer rows than asked for
    are changed or deleted when the table has no more.
    """
    rng = random.Random(seed)
    with table.lock:
        keys = table.keys()
        chosen = rng.sample(keys, min(changes + deletes, len(keys)))
        deleted = chosen[:deletes]
        changed = chosen[deletes:]
        template = table.get(keys[0]) if keys else None
        for key in deleted:
            table.delete(key)
        for key in changed:
            table.put(_changed(table, table.get(key) or {}, rng))
        inserted = [_insert(table, template, rng) for _ in range(inserts)]
    return {
        "changed": [list(key) for key in changed],
        "inserted": [list(key) for key in inserted],
        "deleted": [list(key) for key in deleted],
    }


def random_value(column: TwinColumn, rng: random.Random) -> t.Any:
    """Return a value of the column's declared type."""
    base, precision, scale = parse_type(column.data_type)
    if base in _INTEGERS or (
        base in ("NUMBER", "NUMERIC", "DECIMAL") and precision is not None and scale <= 0
    ):
        return rng.randrange(1, 10 ** min(_INTEGERS.get(base, precision or 9), 9))
    if base in ("NUMBER", "NUMERIC", "DECIMAL"):
        digits = min(precision or 9, 15)
        places = scale if precision is not None else 2
        return Decimal(rng.randrange(10**digits)).scaleb(-places)
    if base in _FLOATS:
        return rng.randrange(100_000) / 8
    if base.startswith("BOOL"):
        return rng.random() < 0.5
    if base.startswith("TIMESTAMP"):
        moment = _FIRST_DAY + timedelta(seconds=rng.randrange(10**9))
        return moment.strftime(
            "%Y-%m-%dT%H:%M:%SZ"
            if "TIME ZONE" in base or base.endswith("TZ")
            else "%Y-%m-%dT%H:%M:%S"
        )
    if base == "DATE":
        return (date(2000, 1, 1) + timedelta(days=rng.randrange(10_000))).isoformat()
    return "".join(rng.choices(_ALPHABET, k=min(precision or 12, 12)))


def parse_type(data_type: str) -> tuple[str, int | None, int]:
    """Split "NUMERIC(6,2)" into its base, precision (or length) and scale."""
    match = _TYPE.match(data_type)
    if match is None:
        return data_type.upper(), None, 0
    base, precision, scale, suffix = match.groups()
    return (
        f"{base} {suffix or ''}".strip().upper(),
        int(precision) if precision else None,
        int(scale or 0),
    )


def _changed(table: TwinTable, record: Record, rng: random.Random) -> Record:
    fixed = {*table.business_keys, table.rowversion_column}
    column = rng.choice([column for column in table.columns if column.name not in fixed])
    value = random_value(column, rng)
    while value == record.get(column.name):
        value = random_value(column, rng)
    return record | {column.name: value}


def _insert(table: TwinTable, template: Record | None, rng: random.Random) -> Key:
    for _ in range(10_000):
        drawn = {
            column.name: random_value(column, rng) for column in table.columns if template is None
        }
        drawn |= {name: random_value(table.column(name), rng) for name in table.business_keys}
        record = (template or {}) | drawn
        key = table.key_of(record)
        if key not in table:
            table.put(record)
            return key
    raise ValueError(f"found no unused key for {table.slug}: its key columns are too narrow")
