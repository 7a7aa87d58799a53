"""The answers of one declared endpoint, as `batches.decode` reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from sync_pipelines.batches.layout import KeptRecords
from sync_pipelines.batches.raw_json import Step, compile_path, elements, follow, members
from sync_pipelines.batches.typed import NOT_TYPED, Path, TypedReader, is_plain
from sync_pipelines.model.declaration import Endpoint
from sync_pipelines.model.entity import Column
from sync_pipelines.sources.declared.keeper import Keeper
from sync_pipelines.sources.declared.paths import source_paths

_MARK = b'"\x7fhere are the records"'


class DeclaredLayout:
    """As `batches.layout.Layout`.

    Args:
        endpoint: its declaration.
        columns: of the entity, as the catalog has them.
        masked: those whose values must not rest anywhere, not under the name of another field either.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        columns: Sequence[Column],
        masked: frozenset[str] = frozenset(),
    ) -> None:
        names = [column.name for column in columns]
        self._keeper = Keeper(endpoint, names, masked)
        self._names = frozenset(names)
        self._unseen = _paths_by_column(endpoint, names)
        steps = _steps(endpoint)
        self._outer: tuple[str, ...] = ()
        self._inner: tuple[str, ...] = ()
        if steps is not None:
            self._outer, self._inner = steps
        self.reader = self._typed_reader(endpoint, columns)
        if steps is None or not _is_typed(endpoint, names):
            self.reader.is_possible = False
        self._locator: Any = None
        self._named = b""
        if self.reader.is_possible and self._outer:
            self._locator = _locator(self._outer)
            self._named = _quoted(self._outer[-1])
        self._lists_behind = 0

    def _typed_reader(self, endpoint: Endpoint, columns: Sequence[Column]) -> TypedReader:
        """The decoder of records whose columns have the declared types."""
        places = {column.name: place for place, column in enumerate(columns)}
        paths = {places[name]: path for name, path in self._unseen.items()}
        reader = TypedReader(
            columns,
            paths,
            (None, *self._inner),
            cursor=places.get(endpoint.cursor.field) if endpoint.cursor is not None else None,
            keeps_objects=not endpoint.flatten,
        )
        steps = (*self._outer, *self._inner)
        reader.is_possible = reader.is_possible and all(map(is_plain, steps))
        return reader

    @property
    def absent(self) -> frozenset[str]:
        """Names of columns whose field was in no record so far."""
        return self._names - self._keeper.seen

    def locate(self, body: bytes) -> bytes | None:
        """The text of the list of records; None where only `keep` finds the records."""
        if self._locator is None:
            return body
        return self._locate_by_guess(body) or self._locate_by_parsing(body)

    def _locate_by_guess(self, body: bytes) -> bytes | None:
        """The list between its name and where earlier ones ended; None where what is around it does not prove that.

        What is around the list is short, so this costs next to nothing. The typed decoder reads the list itself.
        """
        named_at = body.find(self._named)
        if named_at < 0:
            return None
        start = body.find(b"[", named_at + len(self._named))
        end = len(body)
        for _ in range(self._lists_behind + 1):
            end = body.rfind(b"]", 0, end)
        if not 0 <= start < end:
            return None
        if end - start < len(body) // 2:
            return None
        behind = end + 1
        around = body[:start] + _MARK + body[behind:]
        if around.count(_MARK) != 1 or self._found_in(around) != _MARK:
            return None
        return body[start:behind]

    def _locate_by_parsing(self, body: bytes) -> bytes | None:
        found = self._found_in(body)
        if found is None:
            return None
        behind = body.rpartition(found)[2]
        self._lists_behind = behind.count(b"]")
        return found

    def _found_in(self, body: bytes) -> bytes | None:
        try:
            found = self._locator.decode(body)
        except NOT_TYPED:
            return None
        for _ in self._outer:
            found = found.f0
        return bytes(found)

    def note_seen(self, located: bytes) -> None:
        """Take in which columns have a field in these records, which the typed decoder took."""
        seen = self._keeper.seen
        self._unseen = {name: path for name, path in self._unseen.items() if name not in seen}
        waiting: dict[str, Path] = {}
        for name, path in self._unseen.items():
            if _is_named(path[-1], located):
                waiting[name] = path
        if not waiting:
            return
        for raw in self._records(located):
            for name, path in list(waiting.items()):
                if _has(raw, path):
                    seen.add(name)
                    del waiting[name]
            if not waiting:
                return

    def keep(self, body: bytes, max_record_bytes: int) -> KeptRecords:
        """As `Layout.keep`."""
        return self._keeper.keep(body, max_record_bytes)

    def keep_located(self, located: bytes) -> KeptRecords:
        """As `Layout.keep_located`."""
        return self._keeper.keep_each(self._records(located))

    def keep_large(self, located: bytes, least_bytes: int) -> Iterator[tuple[int, bytes]]:
        """As `Layout.keep_large`."""
        for place, raw in enumerate(self._records(located)):
            if len(raw) >= least_bytes:
                yield place, self._keeper.keep_one(raw)

    def _records(self, located: bytes) -> list[bytes]:
        records = elements(located) or []
        for step in self._inner:
            outer = records
            records = []
            for raw in outer:
                records += follow(raw, step)
        return records


def _paths_by_column(endpoint: Endpoint, names: Sequence[str]) -> dict[str, Path]:
    """Where each column's value is; of two that come from one field only the last one is filled."""
    paths = source_paths(endpoint)
    owners: dict[Path, str] = {}
    for name in names:
        path = paths.get(name) or (name,)
        owners[path] = name
    # A field that is mapped to what is no column fills none.
    for source, target in endpoint.mapping.items():
        if target not in names:
            path = tuple(source.split("."))
            owners.pop(path, None)
    return {name: path for path, name in owners.items()}


def _is_typed(endpoint: Endpoint, names: Sequence[str]) -> bool:
    """Whether the typed decoder can judge the records: what is asked for by its id is judged record by record."""
    if endpoint.ids is not None:
        return False
    return endpoint.cursor is None or endpoint.cursor.field in names


def _steps(endpoint: Endpoint) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The names that lead to the list of records, and those from an element to its record; None with an index."""
    records = endpoint.records
    steps = compile_path(records if isinstance(records, str) else records[0])
    at = steps.index(None) if None in steps else len(steps)
    outer = _names(steps[:at])
    inner = _names(steps[at + 1 :])
    if outer is None or inner is None:
        return None
    return outer, inner


def _names(steps: Sequence[Step]) -> tuple[str, ...] | None:
    """The steps where all of them are names; else None."""
    names = [step for step in steps if isinstance(step, str)]
    return tuple(names) if len(names) == len(steps) else None


def _locator(names: Sequence[str]) -> Any:
    wanted: Any = msgspec.Raw
    for name in reversed(names):
        fields = [("f0", wanted)]
        wanted = msgspec.defstruct("At", fields, rename={"f0": name})
    return msgspec.json.Decoder(wanted)


def _is_named(name: str, text: bytes) -> bool:
    """Whether a field of this name can be in a text; a name may be spelled with escapes."""
    return b"\\" in text or _quoted(name) in text


def _quoted(name: str) -> bytes:
    """A name as JSON without escapes has it."""
    text = json.dumps(name, ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _has(raw: bytes, path: Path) -> bool:
    """Whether a record has a member at a path."""
    value = raw
    for part in path:
        inner = members(value)
        if inner is None or part not in inner:
            return False
        value = inner[part]
    return True
