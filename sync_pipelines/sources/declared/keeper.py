"""A declared endpoint's records in the form in which quarantine keeps them; values stay byte for byte.

The exact path reads this form, and so does a release. The records of a page that is good do not take it.

Each record becomes `{"row_version": …, "data": {…}}`: fields under the names of the table, nested ones where the
mapping reaches into them. Fields that nobody declared travel along, so that quarantine keeps them and the run names
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from sync_pipelines.batches.layout import KeptRecords
from sync_pipelines.batches.raw_json import find_records, members
from sync_pipelines.batches.typed import Path
from sync_pipelines.errors import BrokenPageError
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.limits import MAX_RECORD_BYTES
from sync_pipelines.sources.declared.paths import (
    MAX_NESTED,
    SEPARATOR,
    id_column,
    path_of,
    source_paths,
)

_NULL = b"null"
_HIDDEN = b'"***"'
_NOTHING = (_NULL, b'""', b"[]", b"{}")
# By field; under None the name in the table of the field itself.
_Tree = dict[Any, Any]


@dataclass(slots=True)
class _Row:
    """A record on its way into the kept form.

    Attributes:
        place: of the record in its answer.
        data: its fields by their names in the table.
        result: gets its id, its refusal and the fields that no column names.
    """

    place: int
    data: dict[str, bytes]
    result: KeptRecords

    def refuse(self, column: str | None, reason: str) -> None:
        """Refuse the record, unless it is refused already."""
        refusal = (column, reason)
        self.result.refused.setdefault(self.place, refusal)


class Keeper:
    """Puts the records of one endpoint into the form in which they are kept.

    Args:
        endpoint: its declaration.
        column_names: names of the entity's columns, as the catalog has them.
        masked: those whose values must not rest anywhere, not under the name of another field either.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        column_names: list[str],
        masked: frozenset[str] = frozenset(),
    ) -> None:
        ids = endpoint.ids
        cursor = endpoint.cursor
        paths = source_paths(endpoint)
        self._endpoint = endpoint
        self._declared = set(column_names)
        self._tree: _Tree = {}
        self.seen: set[str] = set()
        for name in column_names:
            path = paths.get(name) or (name,)
            self._plant(path, name)
        for source, target in endpoint.mapping.items():
            if target not in self._declared:
                self._plant(path_of(source), target)
        self._masked = set(masked)
        for name in masked:
            path = paths.get(name, (name,))
            self._masked.add(path[0])
        self._rowversion = cursor.field if cursor is not None else None
        self._id = id_column(endpoint)
        self._verified = ids.verified if ids is not None else None
        self._apart = {
            *endpoint.key,
            self._id,
            self._verified,
            self._rowversion,
        }

    def _plant(self, path: Path, name: str) -> None:
        node = self._tree
        for part in path:
            node = node.setdefault(part, {})
        node[None] = name

    def keep(self, body: bytes, max_record_bytes: int = MAX_RECORD_BYTES) -> KeptRecords:
        """The records of an answer; a record that is larger comes without its largest values.

        Raises:
            BrokenPageError: it has none at the declared path.
        """
        records = find_records(
            body,
            self._endpoint.records,
            may_be_one=not self._endpoint.has_pages,
            max_record_bytes=max_record_bytes,
        )
        return self.keep_each(records)

    def keep_each(self, records: Iterable[bytes]) -> KeptRecords:
        """These records."""
        result = KeptRecords(b"", 0)
        rows: list[bytes] = []
        for place, raw in enumerate(records):
            row = self._row(raw, place, result)
            rows.append(row)
        listed = b",".join(rows)
        result.body = b'{"rows":[' + listed + b"]}"
        result.count = len(rows)
        return result

    def keep_one(self, record: bytes) -> bytes:
        """One record."""
        return self._row(record, 0, KeptRecords(b"", 0))

    def _row(
        self,
        raw: bytes,
        place: int,
        result: KeptRecords,
    ) -> bytes:
        try:
            found = members(raw)
        except BrokenPageError:
            found = None
        if found is None:
            result.ids.append(None)
            return b'{"data":' + raw + b"}"
        data: dict[str, bytes] = {}
        row = _Row(place, data, result)
        self._walk(found, self._tree, (), row)
        self.seen.update(data)
        one = None
        if self._id:
            one = _text(data.get(self._id))
        result.ids.append(one)
        if self._endpoint.ids is not None:
            self._judge(row)
        rowversion = _NULL
        if self._rowversion:
            rowversion = data.get(self._rowversion, _NULL)
        fields = [_key(name) + value for name, value in data.items()]
        inside = b",".join(fields)
        return b'{"row_version":' + rowversion + b',"data":{' + inside + b"}}"

    def _walk(
        self,
        found: dict[str, bytes],
        tree: _Tree,
        prefix: Path,
        row: _Row,
    ) -> None:
        if len(prefix) > MAX_NESTED:
            row.refuse(None, f"The record is nested more than {MAX_NESTED} levels deep.")
            return
        # Of an object that is a column as a whole nothing is left over.
        is_whole = None in tree
        opens_unknown = self._endpoint.flatten and not is_whole
        for name, raw in found.items():
            node = tree.get(name)
            path = (*prefix, name)
            inner = None
            if node is not None:
                inner = self._take(node, path, raw, row)
            elif opens_unknown:
                inner = members(raw)
            if inner is not None:
                self._walk(inner, node or {}, path, row)
            elif not is_whole and (node is None or None not in node):
                self._keep_free(path, raw, row)

    def _take(
        self,
        node: _Tree,
        path: Path,
        raw: bytes,
        row: _Row,
    ) -> dict[str, bytes] | None:
        """Keep a field that is a column; returns its members where columns are within it."""
        is_column = None in node
        if is_column:
            name = node[None]
            row.data[name] = raw
            if name not in self._declared:
                row.result.undeclared[name] = path
        if len(node) == is_column:
            return None
        inner = members(raw)
        if inner is None and raw.strip() != _NULL:
            row.refuse(_first_name(node), f"The field {'.'.join(path)} is no object.")
        return inner

    def _keep_free(
        self,
        path: Path,
        raw: bytes,
        row: _Row,
    ) -> None:
        """Keep a field that no column names."""
        free = SEPARATOR.join(path)
        if self._masked and not self._masked.isdisjoint(path):
            raw = _HIDDEN
        # A stray field must not take the place of a declared column.
        if free in self._declared or free in row.data:
            free = f"source.{free}"
        row.data[free] = raw
        row.result.undeclared[free] = path

    def _judge(self, row: _Row) -> None:
        """Refuse a record of an id list that its source has not verified, or that has nothing but its id."""
        if self._verified is not None:
            verified = row.data.get(self._verified, b"")
            if verified.strip() != b"true":
                row.refuse(self._verified, "The source has not verified it.")
        for name, raw in row.data.items():
            is_content = name in self._declared and name not in self._apart
            if is_content and raw.strip() not in _NOTHING:
                return
        row.refuse(None, "It came back empty.")


def missing_record(column: str, value: str) -> bytes:
    """An answer with one record that only has its id, as a text: what was asked for and did not come."""
    text = json.dumps(value).encode()
    return b'{"rows":[{"data":{' + _key(column) + text + b"}}]}"


def _first_name(node: _Tree) -> str | None:
    for key, inner in node.items():
        return inner if key is None else _first_name(inner)
    return None


def _key(name: str) -> bytes:
    text = json.dumps(name)
    return text.encode() + b":"


def _text(raw: bytes | None) -> str | None:
    if raw is None or raw.strip() == _NULL:
        return None
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return str(value)
