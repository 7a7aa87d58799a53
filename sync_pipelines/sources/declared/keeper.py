"""A declared endpoint's records in the form in which quarantine keeps them; values stay byte for byte.

The exact path reads this form, and so does a release. The records of a page that is good do not take it.

Each record becomes `{"row_version": …, "data": {…}}`: fields under the names of the table, nested ones where the
mapping reaches into them. Fields that nobody declared travel along, so that quarantine keeps them and the run names
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from sync_pipelines.batches.layout import KeptRecords
from sync_pipelines.batches.raw_json import find_records, members
from sync_pipelines.errors import BrokenPageError
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.limits import MAX_RECORD_BYTES
from sync_pipelines.sources.declared.paths import MAX_NESTED, SEPARATOR, id_column, source_paths

_NULL = b"null"
_HIDDEN = b'"***"'
# By field; under None the name in the table of the field itself.
_Tree = dict[Any, Any]


class Keeper:
    """Puts the records of one endpoint into the form in which they are kept.

    Args:
        endpoint: its declaration.
        column_names: names of the entity's columns, as the catalog has them.
        masked: those whose values must not rest anywhere, not under the name of another field either.
    """

    def __init__(
        self, endpoint: Endpoint, column_names: list[str], masked: frozenset[str] = frozenset()
    ) -> None:
        self._endpoint = endpoint
        self._declared = set(column_names)
        self._tree: _Tree = {}
        self.seen: set[str] = set()
        paths = source_paths(endpoint)
        for name in column_names:
            self._plant(paths.get(name) or (name,), name)
        for source, target in endpoint.mapping.items():
            if target not in column_names:
                self._plant(tuple(source.split(".")), target)
        self._masked = masked | {paths.get(name, (name,))[0] for name in masked}
        self._rowversion = endpoint.cursor.field if endpoint.cursor else None
        self._id = id_column(endpoint)
        self._verified = endpoint.ids.verified if endpoint.ids else None
        self._apart = {*endpoint.key, self._id, self._verified, self._rowversion}

    def _plant(self, path: tuple[str, ...], name: str) -> None:
        node = self._tree
        for part in path:
            node = node.setdefault(part, {})
        node[None] = name

    def keep(self, body: bytes, max_record_bytes: int = MAX_RECORD_BYTES) -> KeptRecords:
        """The records of an answer; a record that is larger comes without its largest values.

        Raises:
            BrokenPageError: it has none at the declared path.
        """
        one = not self._endpoint.has_pages
        return self.keep_each(
            find_records(
                body, self._endpoint.records, may_be_one=one, max_record_bytes=max_record_bytes
            )
        )

    def keep_each(self, records: Iterable[bytes]) -> KeptRecords:
        """These records."""
        result = KeptRecords(b"", 0)
        rows = [self._row(raw, place, result) for place, raw in enumerate(records)]
        result.body, result.count = b'{"rows":[' + b",".join(rows) + b"]}", len(rows)
        return result

    def keep_one(self, record: bytes) -> bytes:
        """One record."""
        return self._row(record, 0, KeptRecords(b"", 0))

    def _row(self, raw: bytes, place: int, result: KeptRecords) -> bytes:
        try:
            found = members(raw)
        except BrokenPageError:
            found = None
        if found is None:
            result.ids.append(None)
            return b'{"data":' + raw + b"}"
        data: dict[str, bytes] = {}
        self._walk(found, self._tree, (), data, place, result)
        self.seen.update(data)
        result.ids.append(_text(data.get(self._id)) if self._id else None)
        if self._endpoint.ids is not None:
            self._judge(data, place, result)
        rowversion = data.get(self._rowversion, _NULL) if self._rowversion else _NULL
        inside = b",".join(_key(name) + value for name, value in data.items())
        return b'{"row_version":' + rowversion + b',"data":{' + inside + b"}}"

    def _walk(
        self,
        found: dict[str, bytes],
        tree: _Tree,
        prefix: tuple[str, ...],
        data: dict[str, bytes],
        place: int,
        result: KeptRecords,
    ) -> None:
        if len(prefix) > MAX_NESTED:
            result.refused.setdefault(
                place, (None, f"The record is nested more than {MAX_NESTED} levels deep.")
            )
            return
        # Of an object that is a column as a whole nothing is left over.
        is_whole = None in tree
        opens_unknown = self._endpoint.flatten and not is_whole
        for name, raw in found.items():
            node = tree.get(name)
            path = (*prefix, name)
            inner = None
            if node is not None:
                inner = self._take(node, path, raw, data, place, result)
            elif opens_unknown:
                inner = members(raw)
            if inner is not None:
                self._walk(inner, node or {}, path, data, place, result)
            elif not is_whole and (node is None or None not in node):
                self._keep_free(path, raw, data, result)

    def _take(
        self,
        node: _Tree,
        path: tuple[str, ...],
        raw: bytes,
        data: dict[str, bytes],
        place: int,
        result: KeptRecords,
    ) -> dict[str, bytes] | None:
        """Keep a field that is a column; returns its members where columns are within it."""
        if None in node:
            data[node[None]] = raw
            if node[None] not in self._declared:
                result.undeclared[node[None]] = path
        if len(node) == (None in node):
            return None
        inner = members(raw)
        if inner is None and raw.strip() != _NULL:
            result.refused.setdefault(
                place, (_first_name(node), f"The field {'.'.join(path)} is no object.")
            )
        return inner

    def _keep_free(
        self, path: tuple[str, ...], raw: bytes, data: dict[str, bytes], result: KeptRecords
    ) -> None:
        """Keep a field that no column names."""
        free = SEPARATOR.join(path)
        if self._masked and not self._masked.isdisjoint(path):
            raw = _HIDDEN
        # A stray field must not take the place of a declared column.
        if free in self._declared or free in data:
            free = f"source.{free}"
        data[free] = raw
        result.undeclared[free] = path

    def _judge(self, data: dict[str, bytes], place: int, result: KeptRecords) -> None:
        if self._verified is not None and data.get(self._verified, b"").strip() != b"true":
            result.refused.setdefault(place, (self._verified, "The source has not verified it."))
        content = [
            raw.strip()
            for name, raw in data.items()
            if name in self._declared and name not in self._apart
        ]
        if not any(raw not in (_NULL, b'""', b"[]", b"{}") for raw in content):
            result.refused.setdefault(place, (None, "It came back empty."))


def missing_record(column: str, value: str) -> bytes:
    """An answer with one record that only has its id, as a text: what was asked for and did not come."""
    return b'{"rows":[{"data":{' + _key(column) + json.dumps(value).encode() + b"}}]}"


def _first_name(node: _Tree) -> str | None:
    return next((inner if key is None else _first_name(inner) for key, inner in node.items()), None)


def _key(name: str) -> bytes:
    return json.dumps(name).encode() + b":"


def _text(raw: bytes | None) -> str | None:
    if raw is None or raw.strip() == _NULL:
        return None
    try:
        return str(msgspec.json.decode(raw))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
