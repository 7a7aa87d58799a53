"""Random changes that keep every value within its declared type."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sync_pipelines.demo.twin.rows import Key, Record
from sync_pipelines.demo.twin.schema import TwinColumn

if TYPE_CHECKING:
    from sync_pipelines.demo.twin.table import TwinTable

_TYPE = re.compile(
    r"\s*([A-Za-z0-9_ ]+?)\s*(?:\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?[A-Za-z ]*\)\s*([A-Za-z ]*))?$"
)
_INTEGERS = {"INT": 9, "INTEGER": 9, "INT4": 9, "BIGINT": 18, "INT8": 18, "SMALLINT": 4, "INT2": 4}
_DECIMALS = ("NUMBER", "NUMERIC", "DECIMAL")
_FLOATS = ("DOUBLE", "DOUBLE PRECISION", "FLOAT", "REAL", "BINARY_DOUBLE", "FLOAT8")
_FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_ALPHABET = string.ascii_uppercase + string.digits


def mutate(
    table: TwinTable, changes: int = 0, inserts: int = 0, deletes: int = 0, seed: int = 0
) -> dict[str, Any]:
    """Delete, change and insert random rows; return the keys of each.

    The same seed on the same table does the same. Fewer rows than asked for
    are changed or deleted when the table has no more.
    """
    rng = random.Random(seed)
    with table.lock:
        keys = table.keys()
        wanted = min(changes + deletes, len(keys))
        chosen = rng.sample(keys, wanted)
        deleted = chosen[:deletes]
        changed = chosen[deletes:]
        template = table.get(keys[0]) if keys else None
        for key in deleted:
            table.delete(key)
        for key in changed:
            record = table.get(key) or {}
            table.put(_changed(table, record, rng))
        inserted = [_insert(table, template, rng) for _ in range(inserts)]
    done = {"changed": changed, "inserted": inserted, "deleted": deleted}
    return {name: list(map(list, keys)) for name, keys in done.items()}


def random_value(column: TwinColumn, rng: random.Random) -> Any:
    """Return a value of the column's declared type."""
    base, precision, scale = parse_type(column.data_type)
    if base in _INTEGERS:
        return _random_integer(_INTEGERS[base], rng)
    if base in _DECIMALS:
        return _random_decimal(precision, scale, rng)
    if base in _FLOATS:
        return rng.randrange(100_000) / 8
    if base.startswith("BOOL"):
        return rng.random() < 0.5
    if base.startswith("TIMESTAMP"):
        seconds = rng.randrange(10**9)
        moment = _FIRST_DAY + timedelta(seconds=seconds)
        has_zone = "TIME ZONE" in base or base.endswith("TZ")
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if has_zone else "%Y-%m-%dT%H:%M:%S")
    if base == "DATE":
        days = rng.randrange(10_000)
        day = _FIRST_DAY + timedelta(days=days)
        return day.date().isoformat()
    length = min(precision or 12, 12)
    letters = rng.choices(_ALPHABET, k=length)
    return "".join(letters)


def _random_integer(digits: int, rng: random.Random) -> int:
    bound = 10 ** min(digits, 9)
    return rng.randrange(1, bound)


def _random_decimal(precision: int | None, scale: int, rng: random.Random) -> int | Decimal:
    """A whole number where the type has no places; two places where it says nothing of them."""
    if precision is not None and scale <= 0:
        return _random_integer(precision or 9, rng)
    digits = min(precision or 9, 15)
    places = 2 if precision is None else scale
    unscaled = Decimal(rng.randrange(10**digits))
    return unscaled.scaleb(-places)


def parse_type(data_type: str) -> tuple[str, int | None, int]:
    """Split "NUMERIC(6,2)" into its base, precision (or length) and scale."""
    match = _TYPE.match(data_type)
    if match is None:
        return data_type.upper(), None, 0
    name, precision, scale, suffix = match.groups()
    base = f"{name} {suffix or ''}".strip()
    length = int(precision) if precision else None
    return base.upper(), length, int(scale or 0)


def _changed(table: TwinTable, record: Record, rng: random.Random) -> Record:
    fixed = {*table.business_keys, table.rowversion_column}
    free = [column for column in table.columns if column.name not in fixed]
    column = rng.choice(free)
    value = random_value(column, rng)
    while value == record.get(column.name):
        value = random_value(column, rng)
    return record | {column.name: value}


def _random_record(columns: Iterable[TwinColumn], rng: random.Random) -> Record:
    return {column.name: random_value(column, rng) for column in columns}


def _insert(table: TwinTable, template: Record | None, rng: random.Random) -> Key:
    key_columns = [table.column(name) for name in table.business_keys]
    for _ in range(10_000):
        record = _random_record(table.columns, rng) if template is None else dict(template)
        record |= _random_record(key_columns, rng)
        key = table.key_of(record)
        if key not in table:
            table.put(record)
            return key
    raise ValueError(f"found no unused key for {table.slug}: its key columns are too narrow")
