"""What an answer of an OpenAPI document has beside its list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sync_pipelines.errors import EntityDefinitionError
from sync_pipelines.sources.rest.page_words import ENVELOPES, FLAGS, names_next, plain_name

MAX_BESIDE = 500
Schema = dict[str, Any]
Resolve = Callable[[Any], Schema]
Properties = Callable[[Schema], dict[str, Any]]


def _means_pages(plain: str) -> bool:
    """Whether a name can mean nothing but pages."""
    return plain in FLAGS or (names_next(plain) and plain != "next")


def beside_list(
    schema: Schema,
    records: str,
    resolve: Resolve,
    properties: Properties,
) -> dict[str, Schema]:
    """What an answer has beside its list, those of objects with known names included, by JSONPath.

    Of other objects only names that can mean nothing but pages. A schema at several places is listed at the first.

    Raises:
        EntityDefinitionError: it has so much that this is no list with something beside it.
    """
    gathered = _Beside(records, resolve, properties)
    if records != "$":
        gathered.add(schema, "$", 3, is_known=True)
    return gathered.found


class _Beside:
    """The schemas beside a list, by JSONPath."""

    def __init__(
        self,
        records: str,
        resolve: Resolve,
        properties: Properties,
    ) -> None:
        self.found: dict[str, Schema] = {}
        self._records = records
        self._resolve = resolve
        self._properties = properties
        # With the schema itself, so that nothing else gets its identity meanwhile.
        self._seen: dict[tuple[int, bool], tuple[int, Schema]] = {}

    def add(
        self,
        inner: Schema,
        prefix: str,
        depth: int,
        *,
        is_known: bool,
    ) -> None:
        """Add the properties of a schema, and those within them down to a depth."""
        identity = (id(inner), is_known)
        if identity in self._seen:
            seen_depth, _ = self._seen[identity]
            if seen_depth >= depth:
                return
        self._seen[identity] = (depth, inner)
        for name, one in self._properties(inner).items():
            path = f"{prefix}.{quoted_name(name)}"
            if path == self._records:
                continue
            plain = plain_name(name)
            resolved = self._resolve(one)
            if is_known or _means_pages(plain):
                self._keep(path, resolved)
            if depth:
                stays_known = is_known and (plain in ENVELOPES or names_next(plain))
                self.add(resolved, path, depth - 1, is_known=stays_known)

    def _keep(self, path: str, schema: Schema) -> None:
        self.found[path] = schema
        if len(self.found) > MAX_BESIDE:
            raise EntityDefinitionError(
                f"its answer has more than {MAX_BESIDE} things beside its list; declare its `pagination` and `records`"
            )


def quoted_name(name: str) -> str:
    """A name as a step of a JSONPath."""
    letters = name.replace("_", "a")
    if letters.isalnum() and letters.isascii() and not name[0].isdigit():
        return name
    without_quotes = name.replace('"', "")
    return f'"{without_quotes}"'
