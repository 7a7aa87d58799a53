"""The answers of one declared endpoint, as `batches.decode` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sync_pipelines.batches.layout import KeptRecords
from sync_pipelines.batches.raw_json import Step, compile_path, elements, follow, members
from sync_pipelines.batches.typed import Path, TypedReader, is_plain
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.entity import Column
from sync_pipelines.sources.declared.keeper import Keeper
from sync_pipelines.sources.declared.locator import ListLocator, quoted_name
from sync_pipelines.sources.declared.paths import path_of, records_path, source_paths

SHOWN_COLUMNS = 10


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
        self._names = names
        self._unseen = _paths_by_column(endpoint, names)
        steps = _steps(endpoint)
        self._outer: Path = ()
        self._inner: Path = ()
        if steps is not None:
            self._outer, self._inner = steps
        self.reader = self._typed_reader(endpoint, columns)
        if steps is None or not _is_typed(endpoint, names):
            self.reader.is_possible = False
        self._locator: ListLocator | None = None
        if self.reader.is_possible and self._outer:
            self._locator = ListLocator(self._outer)

    def _typed_reader(self, endpoint: Endpoint, columns: Sequence[Column]) -> TypedReader:
        """The decoder of records whose columns have the declared types."""
        paths: dict[int, Path] = {}
        cursor: int | None = None
        cursor_field = endpoint.cursor.field if endpoint.cursor is not None else None
        for place, column in enumerate(columns):
            if column.name in self._unseen:
                paths[place] = self._unseen[column.name]
            if column.name == cursor_field:
                cursor = place
        reader = TypedReader(
            columns,
            paths,
            (None, *self._inner),
            cursor=cursor,
            keeps_objects=not endpoint.flatten,
        )
        steps = (*self._outer, *self._inner)
        if not all(map(is_plain, steps)):
            reader.is_possible = False
        return reader

    @property
    def absent(self) -> frozenset[str]:
        """Names of columns whose field was in no record so far."""
        return frozenset(self._names) - self._keeper.seen

    def warnings(self) -> list[str]:
        """What a person should know of columns whose field was in no record."""
        absent = self.absent
        if not absent:
            return []
        names = [name for name in self._names if name in absent]
        shown = ", ".join(names[:SHOWN_COLUMNS])
        return [f"no record had the fields of {shown}: did the source rename them?"]

    def locate(self, body: bytes) -> bytes | None:
        """The text of the list of records; None where only `keep` finds the records."""
        if self._locator is None:
            return body
        return self._locator.locate(body)

    def note_seen(self, located: bytes) -> None:
        """Take in which columns have a field in these records, which the typed decoder took."""
        seen = self._keeper.seen
        waiting: dict[str, Path] = {}
        for name, path in list(self._unseen.items()):
            if name in seen:
                del self._unseen[name]
            elif _is_named(path[-1], located):
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
        records = self._records(located)
        return self._keeper.keep_each(records)

    def keep_large(self, located: bytes, least_bytes: int) -> Iterator[tuple[int, bytes]]:
        """As `Layout.keep_large`."""
        records = self._records(located)
        for place, raw in enumerate(records):
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
            owners.pop(path_of(source), None)
    by_column = {}
    for path, name in owners.items():
        by_column[name] = path
    return by_column


def _is_typed(endpoint: Endpoint, names: Sequence[str]) -> bool:
    """Whether the typed decoder can judge the records: what is asked for by its id is judged record by record."""
    if endpoint.ids is not None:
        return False
    if endpoint.cursor is None:
        return True
    return endpoint.cursor.field in names


def _steps(endpoint: Endpoint) -> tuple[Path, Path] | None:
    """The names that lead to the list of records, and those from an element to its record; None with an index."""
    steps = compile_path(records_path(endpoint))
    at = len(steps)
    if None in steps:
        at = steps.index(None)
    outer = _names(steps[:at])
    inner = _names(steps[at + 1 :])
    if outer is None or inner is None:
        return None
    return outer, inner


def _names(steps: Sequence[Step]) -> Path | None:
    """The steps where all of them are names; else None."""
    names = [step for step in steps if isinstance(step, str)]
    if len(names) < len(steps):
        return None
    return tuple(names)


def _is_named(name: str, text: bytes) -> bool:
    """Whether a field of this name can be in a text; a name may be spelled with escapes."""
    return b"\\" in text or quoted_name(name) in text


def _has(raw: bytes, path: Path) -> bool:
    """Whether a record has a member at a path."""
    value = raw
    for part in path:
        inner = members(value)
        if inner is None or part not in inner:
            return False
        value = inner[part]
    return True
