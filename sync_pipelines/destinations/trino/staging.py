"""Arrow tables and Parquet files as relations that a Trino statement can read.

Few rows travel inside the statement as one JSON literal: no file, no table, no commit. More rows are put as Parquet
where Trino reads them, under a Hive table that only names their folder. Without such a place they go by
statements of some thousand rows into a table of the target catalog.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq

from sync_pipelines.destinations.trino.quoting import quote
from sync_pipelines.destinations.trino.session import Session, create_schema
from sync_pipelines.destinations.trino.types import (
    from_staged,
    hive_type,
    iceberg_type,
    staged_type,
)
from sync_pipelines.errors import DatabaseUnavailableError, SettingsError
from sync_pipelines.model.entity import Entity
from sync_pipelines.model.quoting import literal
from sync_pipelines.model.staged import staged_places
from sync_pipelines.model.types import ColumnType, Kind
from sync_pipelines.secrets import printable

logger = logging.getLogger(__name__)

STAGING_SCHEMA = "sync_pipelines_staging"
MAX_LITERAL_CHARACTERS = (
    250_000  # a statement holds it up to three times, and Trino takes a million characters
)
_CHUNK_ROWS = 2000
_DIRECT = {"boolean", "smallint", "integer", "bigint", "double", "real", "varchar"}
TEXT = ColumnType(Kind.TEXT)
BIGINT = ColumnType(Kind.BIGINT)


@dataclass(frozen=True)
class Field:
    """A staged column: its name and its declared type."""

    name: str
    type: ColumnType


def record_fields(entity: Entity) -> list[Field]:
    """The columns of `model.staged.records_schema`."""
    fields = [Field("arrival", BIGINT), Field("rowversion", TEXT), Field("hash", TEXT)]
    places = staged_places(entity)
    for column in entity.columns:
        field = Field(places[column.name], column.type)
        fields.append(field)
    for name in entity.flags:
        fields.append(Field(name, TEXT))
    return fields


def inline_relation(table: pa.Table, fields: list[Field], *, hive: bool = False) -> str | None:
    """A query that gives the rows of a table without reading anything; None when they are too many characters."""
    if not table.num_rows:
        return _no_rows(fields, hive=hive)
    columns = [_json_ready(table[one.name]) for one in fields]
    text = _rows_as_json(columns)
    if len(text) > MAX_LITERAL_CHARACTERS:
        return None
    names = ", ".join(one.name for one in fields)
    row_type = ", ".join(f"{one.name} {_json_type(one)}" for one in fields)
    values = [f"{_from_json(one, hive=hive)} AS {one.name}" for one in fields]
    rows = f"CAST(json_parse({literal(text)}) AS array(row({row_type})))"
    return f"(SELECT {', '.join(values)} FROM UNNEST({rows}) AS j ({names}))"


def _no_rows(fields: list[Field], *, hive: bool) -> str:
    """The query of an empty relation."""
    values = []
    for one in fields:
        kind = _final_type(one, hive=hive)
        values.append(f"cast(NULL AS {kind}) AS {one.name}")
    return f"(SELECT {', '.join(values)} WHERE false)"


def _is_direct(field: Field) -> bool:
    """JSON carries the value itself and not its text."""
    if field.type.kind in (Kind.REAL, Kind.DOUBLE):
        # A float's shortest text is exact; a JSON number would pass through the JSON parser's own reading.
        return False
    return staged_type(field.type) in _DIRECT


def _json_type(field: Field) -> str:
    """The type that a value has in the parsed JSON."""
    if _is_direct(field):
        return staged_type(field.type)
    return "varchar"


def _from_json(field: Field, *, hive: bool) -> str:
    """SQL for a value of the table out of the parsed JSON."""
    value = field.name
    if not _is_direct(field):
        value = f"cast({field.name} AS {staged_type(field.type)})"
    return from_staged(value, field.type, hive=hive)


def _final_type(field: Field, *, hive: bool) -> str:
    return hive_type(field.type) if hive else iceberg_type(field.type)


def _json_ready(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        # Arrow's own text has neither year 1 nor all digits on every version.
        micros = column.cast(pa.int64()).to_pylist()
        return [None if value is None else _moment(value) for value in micros]
    if pa.types.is_floating(kind):
        column = pc.cast(column, pa.string())
    values: list[Any] = column.to_pylist()
    if (
        pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
    ):
        return values
    return [None if value is None else str(value) for value in values]


def _moment(micros: int) -> str:
    # A local time or UTC, as the column says.
    moment = datetime(1970, 1, 1) + timedelta(microseconds=micros)  # noqa: DTZ001
    return moment.isoformat(sep=" ", timespec="microseconds")


def _rows_as_json(columns: list[list[Any]]) -> str:
    rows = list(zip(*columns, strict=True))
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


@dataclass
class Staging:
    """Where the relations of one run are put, and taken away again.

    Attributes:
        session: statements.
        catalog: the target catalog, for staging without files.
        name: unique for the entity; leftovers of a killed run have the same name and are replaced.
    """

    session: Session
    catalog: str
    name: str
    hive: bool = False
    _tables: list[str] = field(default_factory=list)
    _folders: list[str] = field(default_factory=list)

    def relation(self, part: str, table: pa.Table, fields: list[Field]) -> str:
        """Put a table that is in memory where a statement can read it."""
        if table.num_rows <= self.session.options.inline_rows:
            inline = inline_relation(table, fields, hive=self.hive)
            if inline is not None:
                return inline
        if self.session.options.staging_url is None:
            return self._by_statements(part, iter([table]), fields)
        filesystem, folder = self._open_folder(part)
        try:
            with filesystem.open_output_stream(f"{folder}/rows.parquet") as stream:
                names = [one.name for one in fields]
                pq.write_table(table.select(names), stream)
        except OSError as error:
            raise self._storage_error(error) from error
        return self._over_files(part, fields)

    def of_files(self, part: str, files: list[Path], fields: list[Field]) -> str:
        """Put Parquet files where a statement can read them."""
        if self.session.options.staging_url is None:
            tables = map(pq.read_table, files)
            return self._by_statements(part, tables, fields)
        filesystem, folder = self._open_folder(part)
        for file in files:
            try:
                pa_fs.copy_files(
                    str(file),
                    f"{folder}/{file.name}",
                    source_filesystem=pa_fs.LocalFileSystem(),
                    destination_filesystem=filesystem,
                )
            except OSError as error:
                raise self._storage_error(error) from error
        return self._over_files(part, fields)

    def clear(self) -> None:
        """Take everything away; what stays because Trino or the storage fails now is replaced by the next run."""
        try:
            for table in self._tables:
                self.session.execute(f"DROP TABLE IF EXISTS {table}")
            for part in self._folders:
                filesystem, folder = self._folder(part)
                filesystem.delete_dir(folder)
        except (DatabaseUnavailableError, OSError) as error:
            logger.warning("staged files of %s stay until the next run: %s", self.name, error)
        self._tables = []
        self._folders = []

    def _folder(self, part: str) -> tuple[pa_fs.FileSystem, str]:
        url = str(self.session.options.staging_url)
        try:
            filesystem, root = pa_fs.FileSystem.from_uri(url)
        except (pa.ArrowInvalid, OSError) as error:
            raise SettingsError(
                f"TRINO_STAGING_URL is no place for files: {printable(str(error), 200)}",
                next_command="use file:///… or s3://bucket/folder",
            ) from error
        return filesystem, f"{root.rstrip('/')}/{self.name}/{part}"

    def _open_folder(self, part: str) -> tuple[pa_fs.FileSystem, str]:
        filesystem, folder = self._folder(part)
        try:
            if filesystem.get_file_info(folder).type != pa_fs.FileType.NotFound:
                filesystem.delete_dir(folder)
            filesystem.create_dir(folder, recursive=True)
        except OSError as error:
            raise self._storage_error(error) from error
        self._folders.append(part)
        return filesystem, folder

    def _storage_error(self, error: OSError) -> DatabaseUnavailableError:
        return DatabaseUnavailableError(
            f"The staging storage of Trino failed: {printable(str(error), 300)}"
        )

    def _over_files(self, part: str, fields: list[Field]) -> str:
        options = self.session.options
        url = options.staging_location or options.staging_url or ""
        root, _, _ = url.partition("?")
        location = literal(f"{root.rstrip('/')}/{self.name}/{part}")
        catalog = options.staging_catalog
        self.session.set_property(f"{catalog}.timestamp_precision", "MICROSECONDS")
        columns = ", ".join(f"{one.name} {staged_type(one.type)}" for one in fields)
        properties = f"format = 'PARQUET', external_location = {location}"
        definition = f"({columns}) WITH ({properties})"
        table = self._new_table(catalog, part, definition)
        values = []
        for one in fields:
            value = from_staged(one.name, one.type, hive=self.hive)
            values.append(f"{value} AS {one.name}")
        return f"(SELECT {', '.join(values)} FROM {table})"

    def _by_statements(self, part: str, tables: Iterator[pa.Table], fields: list[Field]) -> str:
        columns = ", ".join(f"{one.name} {_final_type(one, hive=self.hive)}" for one in fields)
        name = self._new_table(self.catalog, part, f"({columns})")
        for table in tables:
            for chunk in _chunks(table, _CHUNK_ROWS):
                self._insert(name, chunk, fields)
        return name

    def _insert(self, name: str, chunk: pa.Table, fields: list[Field]) -> None:
        inline = inline_relation(chunk, fields, hive=self.hive)
        if inline is not None:
            self.session.execute(f"INSERT INTO {name} SELECT * FROM {inline}")
        elif chunk.num_rows > 1:
            for half in _chunks(chunk, (chunk.num_rows + 1) // 2):
                self._insert(name, half, fields)
        else:
            raise SettingsError(
                "A record is too large for a statement of Trino, and there is no place for files.",
                next_command="set TRINO_STAGING_URL",
            )

    def _new_table(self, catalog: str, part: str, definition: str) -> str:
        table = quote(catalog, STAGING_SCHEMA, f"{self.name}_{part}")
        create_schema(self.session, catalog, STAGING_SCHEMA)
        self.session.execute(f"DROP TABLE IF EXISTS {table}")
        self.session.execute(f"CREATE TABLE {table} {definition}")
        self._tables.append(table)
        return table


def _chunks(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)
