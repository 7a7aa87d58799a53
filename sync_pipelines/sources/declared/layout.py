"""The answers of one declared endpoint, as `batches.decode` reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from sync_pipelines.batches.layout import KeptRecords
from sync_pipelines.batches.raw_json import compile_path, elements, follow, members
from sync_pipelines.batches.typed import NOT_TYPED, Path, TypedReader, is_plain
from sync_pipelines.model.endpoint import Endpoint
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
        self, endpoint: Endpoint, columns: Sequence[Column], masked: frozenset[str] = frozenset()
    ) -> None:
        names = [column.name for column in columns]
        self._keeper = Keeper(endpoint, names, masked)
        self._names, self._flattens = frozenset(names), endpoint.flatten
        self._places = _places(endpoint, names)
        self._unseen = {name: path for name, path in self._places.items() if name in self._names}
        steps = _steps(endpoint)
        self._outer, self._inner = steps or ((), ())
        cursor = endpoint.cursor.field if endpoint.cursor is not None else None
        self.reader = TypedReader(
            columns,
            {place: self._places[name] for place, name in enumerate(names) if name in self._places},
            (None, *self._inner),
            cursor=names.index(cursor) if cursor in names else None,
            keeps_objects=not endpoint.flatten,
        )
        is_found = (
            steps is not None and (cursor is None or cursor in names) and endpoint.ids is None
        )
        # What is asked for by its id is judged record by record.
        self.reader.is_possible = (
            self.reader.is_possible
            and is_found
            and all(map(is_plain, (*self._outer, *self._inner)))
        )
        self._locator: Any = (
            _locator(self._outer) if self.reader.is_possible and self._outer else None
        )
        self._named = (
            json.dumps(self._outer[-1], ensure_ascii=False).encode()
            if self._locator is not None
            else b""
        )
        self._lists_behind = 0

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
        start = body.find(self._named)
        start = body.find(b"[", start + len(self._named)) if start >= 0 else -1
        end = len(body)
        for _ in range(self._lists_behind + 1):
            end = body.rfind(b"]", 0, end)
        if not 0 <= start < end or end - start < len(body) // 2:
            return None
        around = body[:start] + _MARK + body[end + 1 :]
        is_sure = around.count(_MARK) == 1 and self._found_in(around) == _MARK
        return body[start : end + 1] if is_sure else None

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
        waiting = {
            name: path for name, path in self._unseen.items() if _is_named(path[-1], located)
        }
        for raw in self._records(located) if waiting else ():
            seen.update(name for name, path in waiting.items() if _has(raw, path))
            waiting = {name: path for name, path in waiting.items() if name not in seen}
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
            records = [inner for raw in records for inner in follow(raw, step)]
        return records


def _places(endpoint: Endpoint, names: Sequence[str]) -> dict[str, Path]:
    """Where each column's value is; of two that come from one field only the last one is filled."""
    paths = source_paths(endpoint)
    owners = {paths.get(name) or (name,): name for name in names}
    owners |= {
        tuple(source.split(".")): target
        for source, target in endpoint.mapping.items()
        if target not in names
    }
    return {name: path for path, name in owners.items()}


def _steps(endpoint: Endpoint) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The names that lead to the list of records, and those from an element to its record; None with an index."""
    first = endpoint.records if isinstance(endpoint.records, str) else endpoint.records[0]
    steps = compile_path(first)
    places = [place for place, step in enumerate(steps) if step is None]
    at = places[0] if places else len(steps)
    outer, inner = steps[:at], steps[at + 1 :]
    if not all(isinstance(step, str) for step in (*outer, *inner)):
        return None
    return tuple(map(str, outer)), tuple(map(str, inner))


def _locator(names: Sequence[str]) -> Any:
    wanted: Any = msgspec.Raw
    for name in reversed(names):
        wanted = msgspec.defstruct("At", [("f0", wanted)], rename={"f0": name})
    return msgspec.json.Decoder(wanted)


def _is_named(name: str, text: bytes) -> bool:
    """Whether a field of this name can be in a text; a name may be spelled with escapes."""
    return (
        b"\\" in text
        or json.dumps(name, ensure_ascii=False).encode("utf-8", "surrogatepass") in text
    )


def _has(raw: bytes, path: Path) -> bool:
    """Whether a record has a member at a path."""
    value: bytes | None = raw
    for part in path:
        value = (members(value) or {}).get(part) if value is not None else None
    return value is not None
