"""Records of a page decoded by msgspec into structs, one field for each column, wherever its value is.

The decoder is strict: a value of another type, a field that nobody declared, or an object where none is expected is
an error. The error sends the page to the exact path, which says what is wrong with which record.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sync_pipelines.batches.arrays import NotExactError, python_type
from sync_pipelines.model.entity import Column
from sync_pipelines.model.types import Kind

NOT_TYPED = (
    msgspec.MsgspecError,
    NotExactError,
    UnicodeDecodeError,
    RecursionError,
    AttributeError,
)
"""What sends a page to the exact path."""
MAX_PASSED_OVER = 200
Path = tuple[str, ...]
Step = str | None
"""A name, or None for every element of a list."""
_SCALAR = bool | int | float | str | list[msgspec.Raw] | None
_INEXACT_KINDS = (Kind.BOOLEAN, Kind.DOUBLE, Kind.REAL)
_RAW_KINDS = (Kind.JSON, Kind.NUMERIC)
_RAW_NULL = msgspec.Raw(b"null")
_rowversions = msgspec.json.Decoder(list[str | int | None])


@dataclass
class _Node:
    """A field of a record.

    Attributes:
        type: of its value; None where it is an object with further fields.
        default: the value of a record that does not have it.
        column: index of the column that it fills.
        fields: by name, in an order that never changes.
        is_open: fields beyond these are of no interest.
        is_required: a record without it is not read by the typed decoder.
        may_be_null: null is allowed where the object is expected.
        empty: the struct of an object without members.
        getter: takes the value from the struct that holds it.
    """

    type: Any = None
    default: Any = None
    column: int | None = None
    fields: dict[str, _Node] = field(default_factory=dict)
    is_open: bool = False
    is_required: bool = False
    may_be_null: bool = False
    empty: Any = None
    getter: Callable[[Any], Any] = operator.attrgetter("f0")

    def objects_of(self, parents: list[Any]) -> list[Any]:
        """The structs of this field, one per parent, empty ones where it is null or missing."""
        found = list(map(self.getter, parents))
        if self.is_required:
            return found
        empty = self.empty
        return [empty if one is None else one for one in found]

    def put(self, name: str, inner: _Node) -> _Node:
        """Another field at the end."""
        inner.getter = operator.attrgetter(f"f{len(self.fields)}")
        self.fields[name] = inner
        return inner


class TypedReader:
    """Decodes pages of one layout.

    Args:
        columns: of the entity.
        places: path within a record of each column's value, by index of the column.
        steps: from the top of what is decoded to each record; at least one of them is None, the list of records itself.
        rowversion: path of the field that holds the rowversion; None where that is a column or missing.
        cursor: index of the column that holds the rowversion.
        open_records: a record may have any fields beside the objects on the paths, which must have no others.
        keeps_objects: an undeclared object counts as one field; otherwise each of its members does.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        places: Mapping[int, Path],
        steps: Sequence[Step],
        *,
        rowversion: Path | None = None,
        cursor: int | None = None,
        open_records: bool = False,
        keeps_objects: bool = True,
    ) -> None:
        self._columns = tuple(columns)
        self._places = places
        self._steps = tuple(steps)
        self._rowversion = rowversion
        self._cursor = cursor
        self._keeps_objects = keeps_objects
        self._root = _Node(is_open=open_records)
        self._passed: set[Path] = set()
        self._is_lax = False
        self.is_possible = self._can_be_typed()
        if not self.is_possible:
            return
        for index, path in places.items():
            declared = columns[index].type
            default = _RAW_NULL if declared.kind in _RAW_KINDS else None
            leaf = _Node(python_type(declared), default, index)
            self._plant(path, leaf)
        if rowversion is not None:
            self._plant(rowversion, _Node(str | int | None))
        if open_records:
            for node in self._root.fields.values():
                node.is_required = node.type is None
        self._strict = self._build(lax=False)
        self._lax = self._build(lax=True)

    def _can_be_typed(self) -> bool:
        paths = set(self._places.values())
        if len(paths) < len(self._places):
            return False
        names: set[str] = set()
        for path in paths:
            names.update(path)
            above = [path[:length] for length in range(1, len(path))]
            if not paths.isdisjoint(above):
                return False
        if not all(map(is_plain, names)):
            return False
        if self._cursor is None:
            return True
        cursor = self._columns[self._cursor]
        # Read as one of these, a whole number would not come out as it is written.
        return cursor.type.kind not in _INEXACT_KINDS

    @property
    def is_strict(self) -> bool:
        """A field that nobody declared is an error still."""
        return not self._is_lax

    def decode(self, body: bytes, *, lax: bool = False) -> Any:
        """The records of a page; with `lax` undeclared fields are passed over.

        Raises:
            one of NOT_TYPED: the exact path must read it.
        """
        decoder = self._lax if lax or self._is_lax else self._strict
        records = decoder.decode(body)
        for step in self._steps:
            if step is not None:
                records = _inner(records)
        return records

    def pass_over(self, paths: Iterable[Path]) -> None:
        """Take fields for known, so that one that is new still is an error; after too many of them none is."""
        self._passed.update(paths)
        names = {name for path in self._passed for name in path}
        are_few = len(self._passed) <= MAX_PASSED_OVER
        if not are_few or not all(map(_can_be_named, names)):
            self._is_lax = True
            return
        any_value = msgspec.Raw if self._keeps_objects else _SCALAR
        for path in sorted(self._passed):
            self._plant(path, _Node(any_value, _RAW_NULL))
        self._strict = self._build(lax=False)
        self._lax = self._build(lax=True)

    def values_of(self, records: list[Any]) -> Callable[[int], list[Any]]:
        """A function from the index of a column to its values."""
        parents: dict[Path, list[Any]] = {(): records}

        def parents_at(path: Path) -> list[Any]:
            if path not in parents:
                node = self._find(path)
                above = parents_at(path[:-1])
                parents[path] = node.objects_of(above)
            return parents[path]

        def values(index: int) -> list[Any]:
            path = self._places.get(index)
            if path is None:
                is_raw = self._columns[index].type.kind in _RAW_KINDS
                missing = _RAW_NULL if is_raw else None
                return [missing] * len(records)
            getter = self._find(path).getter
            parents_of_values = parents_at(path[:-1])
            return list(map(getter, parents_of_values))

        return values

    def rowversions_of(self, records: list[Any]) -> list[str | None]:
        """The rowversion of each record, as far as it has one.

        Raises:
            one of NOT_TYPED: some rowversion is neither a text nor a whole number.
        """
        if self._rowversion is not None:
            getter = self._find(self._rowversion).getter
            found = list(map(getter, records))
        elif self._cursor is not None and self._cursor in self._places:
            found = self._cursor_values(records, self._cursor)
        else:
            return [None] * len(records)
        types = set(map(type, found))
        if types <= {str}:
            return found
        return [str(value) if isinstance(value, int) else value for value in found]

    def _cursor_values(self, records: list[Any], cursor: int) -> list[Any]:
        values = self.values_of(records)(cursor)
        if self._columns[cursor].type.kind not in _RAW_KINDS:
            return values
        literals = b",".join(map(bytes, values))
        whole = b"[" + literals + b"]"
        decoded: list[Any] = _rowversions.decode(whole)
        return decoded

    def _find(self, path: Path) -> _Node:
        node = self._root
        for part in path:
            node = node.fields[part]
        return node

    def _plant(self, path: Path, leaf: _Node) -> None:
        node = self._root
        for part in path[:-1]:
            node = node.fields.get(part) or node.put(part, _Node())
            if node.type is not None and node.column is None:
                # A field that was passed over when it was no object.
                node.type = None
                node.may_be_null = True
        known = node.fields.get(path[-1])
        if known is None:
            node.put(path[-1], leaf)
        elif known.type is None:
            known.may_be_null = True

    def _build(self, *, lax: bool) -> Any:
        wanted: Any = self._struct(self._root, lax=lax)
        for step in reversed(self._steps):
            wanted = list[wanted] if step is None else _struct_at(step, wanted)
        return msgspec.json.Decoder(wanted)

    def _struct(self, node: _Node, *, lax: bool) -> Any:
        fields: list[Any] = []
        for place, inner in enumerate(node.fields.values()):
            name = f"f{place}"
            if inner.type is not None:
                fields.append((name, inner.type, inner.default))
                continue
            made = self._struct(inner, lax=lax)
            inner.empty = made()
            if inner.is_required:
                fields.append((name, made, msgspec.NODEFAULT))
                continue
            if inner.may_be_null or lax:
                made = made | None
            make_empty = functools.partial(_same, inner.empty)
            missing = msgspec.field(default_factory=make_empty)
            fields.append((name, made, missing))
        names = {f"f{place}": name for place, name in enumerate(node.fields)}
        return msgspec.defstruct(
            "Record",
            fields,
            rename=names,
            forbid_unknown_fields=not lax and not node.is_open,
            gc=False,
            kw_only=True,
        )


def _struct_at(name: str, wanted: Any) -> Any:
    """A struct with one field, which has the name of a step."""
    return msgspec.defstruct(
        "At",
        [("f0", wanted)],
        rename={"f0": name},
    )


def _inner(records: Any) -> Any:
    """What is at a step, of one object or of each of many."""
    if isinstance(records, list):
        return [one.f0 for one in records]
    return records.f0


def _same(one: Any) -> Any:
    return one


def is_plain(name: str) -> bool:
    """msgspec cannot look for names with quotes or backslashes; such an entity is read record by record."""
    return '"' not in name and "\\" not in name


def _can_be_named(name: str) -> bool:
    """Whether msgspec takes a name for a field: it looks for the name as it is spelled without escapes."""
    return name.isprintable() and is_plain(name)
