"""Where a dlt resource begins, and which of its records lie before that, in the order of the cursor's codec.

dlt compares cursors as Python does: as text "10" comes before "9", and Monday before Sunday. So dlt only tells the
resource where to begin, and what is left out is decided here.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import dlt
from dlt.extract import DltResource
from dlt.extract.incremental import IncrementalResourceWrapper

from sync_pipelines.errors import CursorProtocolError
from sync_pipelines.model.cursor import Codec, order_key
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.types import INTEGER_BITS, parse_type
from sync_pipelines.sources.declared.paths import source_paths

_FIXED_WIDTH = (Codec.TEXT, Codec.DIGITS)


class Start(dlt.sources.incremental[Any]):
    """Tells a resource where to begin, and lets every record through: null cursors and those of another type, too."""

    def __call__(self, rows: Any, meta: Any = None) -> Any:
        """As dlt's, which would drop what it takes for older."""
        return rows


def begin_at(resource: DltResource, endpoint: Endpoint, after: str | None) -> None:
    """Tell a resource where to begin; before the first read where its own incremental does."""
    assert endpoint.cursor is not None
    own = _own_start(resource)
    value = own if after is None else _typed(after, own, endpoint)
    resource.apply_hints(incremental=Start(_quoted(cursor_path(endpoint)), initial_value=value))


def cursor_path(endpoint: Endpoint) -> tuple[str, ...]:
    """Where in a record its cursor is."""
    field = endpoint.cursor.field if endpoint.cursor is not None else ""
    return source_paths(endpoint).get(field, (field,))


def behind(
    records: Iterable[Any], path: tuple[str, ...], codec: Codec | None, after: str | None
) -> Iterator[Any]:
    """The records that are not before a cursor; those whose place nobody can tell stay.

    Args:
        records: of the resource.
        path: of the cursor in a record.
        codec: of the cursor; None = not known.
        after: the cursor, None = everything.
    """
    for record in records:
        if codec is None or after is None or not _is_before(_told(record, path), after, codec):
            yield record


def _is_before(value: str | None, after: str, codec: Codec) -> bool:
    if (
        value is None
        or codec is Codec.OPAQUE
        or (codec in _FIXED_WIDTH and len(value) != len(after))
    ):
        return False
    try:
        return bool(order_key(codec, value) < order_key(codec, after))
    except (CursorProtocolError, UnicodeEncodeError):
        return False


def _told(record: Any, path: tuple[str, ...]) -> str | None:
    """The cursor of a record as the page will have it; None where there is none."""
    value = record
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    is_scalar = isinstance(value, (str, int, Decimal)) and not isinstance(value, bool)
    return str(value) if is_scalar else None


def _own_start(resource: DltResource) -> Any:
    """The `initial_value` that the resource's own incremental has; None where it has none."""
    wrapper = resource.incremental
    own = wrapper.incremental if isinstance(wrapper, IncrementalResourceWrapper) else wrapper
    if own is None and callable(resource._pipe.gen):
        signature = inspect.signature(inspect.unwrap(resource._pipe.gen))
        argument = IncrementalResourceWrapper.get_incremental_arg(signature)
        given = resource.explicit_args if resource.args_bound else {}
        own = given.get(argument.name, argument.default) if argument is not None else None
    return getattr(own, "initial_value", None)


def _typed(after: str, own: Any, endpoint: Endpoint) -> Any:
    """The cursor in the type in which the resource begins; without such a word of it, in that of a whole number."""
    try:
        match own:
            case datetime():
                moment = datetime.fromisoformat(after)
                is_aware = own.tzinfo is not None
                if (moment.tzinfo is not None) == is_aware:
                    return moment
                return (
                    moment.replace(tzinfo=UTC)
                    if is_aware
                    else moment.astimezone(UTC).replace(tzinfo=None)
                )
            case date():
                return datetime.fromisoformat(after).date()
            case bool() | str():
                return after
            case int() | float() | Decimal():
                return type(own)(after)
    except (ValueError, ArithmeticError):
        return after
    field = endpoint.cursor.field if endpoint.cursor is not None else ""
    declared = next((one.type for one in endpoint.columns or () if one.name == field), "text")
    is_whole = parse_type(declared).kind in INTEGER_BITS and after.removeprefix("-").isdecimal()
    return int(after) if is_whole else after


def _quoted(path: tuple[str, ...]) -> str:
    """The path as dlt's JSONPath; a name that is no plain word in quotes."""
    return ".".join(
        name if name.isidentifier() else "'" + name.replace("'", "\\'") + "'" for name in path
    )
