"""Where a dlt resource begins, and which of its records come before that, in the order of the cursor's codec.

dlt compares cursors as Python does: as text "10" comes before "9", and Monday before Sunday. So dlt only gives the
resource its start, and what is left out is decided here.
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
    """Gives a resource its start, and lets every record through: null cursors and those of another type, too."""

    def __call__(self, rows: Any, meta: Any = None) -> Any:
        """As dlt's, which would drop what it takes for older."""
        return rows


def begin_at(
    resource: DltResource,
    endpoint: Endpoint,
    after: str | None,
) -> None:
    """Give a resource its start; before the first read, the one that its own incremental has."""
    assert endpoint.cursor is not None
    own = _own_start(resource)
    value = own if after is None else _typed(after, own, endpoint)
    path = _quoted(cursor_path(endpoint))
    start = Start(path, initial_value=value)
    resource.apply_hints(incremental=start)


def cursor_path(endpoint: Endpoint) -> tuple[str, ...]:
    """Where in a record its cursor is."""
    field = _cursor_field(endpoint)
    paths = source_paths(endpoint)
    return paths.get(field, (field,))


def _cursor_field(endpoint: Endpoint) -> str:
    return endpoint.cursor.field if endpoint.cursor is not None else ""


def behind(
    records: Iterable[Any],
    path: tuple[str, ...],
    codec: Codec | None,
    after: str | None,
) -> Iterator[Any]:
    """The records that are not before a cursor; those whose place is not known stay.

    Args:
        records: of the resource.
        path: of the cursor in a record.
        codec: of the cursor; None = not known.
        after: the cursor, None = everything.
    """
    if codec is None or after is None:
        yield from records
        return
    for record in records:
        value = _cursor_of(record, path)
        if not _is_before(value, after, codec):
            yield record


def _is_before(value: str | None, after: str, codec: Codec) -> bool:
    if value is None or codec is Codec.OPAQUE:
        return False
    if codec in _FIXED_WIDTH and len(value) != len(after):
        return False
    try:
        start = order_key(codec, after)
        return bool(order_key(codec, value) < start)
    except (CursorProtocolError, UnicodeEncodeError):
        return False


def _cursor_of(record: Any, path: tuple[str, ...]) -> str | None:
    """The cursor of a record as the page will have it; None where there is none."""
    value = record
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, bool):
        return None
    if isinstance(value, (str, int, Decimal)):
        return str(value)
    return None


def _own_start(resource: DltResource) -> Any:
    """The `initial_value` that the resource's own incremental has; None where it has none."""
    own: Any = resource.incremental
    if isinstance(own, IncrementalResourceWrapper):
        own = own.incremental
    if own is None:
        own = _incremental_argument(resource)
    return getattr(own, "initial_value", None)


def _incremental_argument(resource: DltResource) -> Any:
    """The incremental among the arguments of the resource's function; None where it has none."""
    function = resource._pipe.gen
    if not callable(function):
        return None
    signature = inspect.signature(inspect.unwrap(function))
    argument = IncrementalResourceWrapper.get_incremental_arg(signature)
    if argument is None:
        return None
    given = resource.explicit_args if resource.args_bound else {}
    return given.get(argument.name, argument.default)


def _typed(after: str, own: Any, endpoint: Endpoint) -> Any:
    """The cursor in the type of the resource's own start; where it has none, in that of the declared column."""
    try:
        match own:
            case datetime():
                moment = datetime.fromisoformat(after)
                return _in_zone_of(own, moment)
            case date():
                moment = datetime.fromisoformat(after)
                return moment.date()
            case bool() | str():
                return after
            case int() | float() | Decimal():
                return type(own)(after)
    except (ValueError, ArithmeticError):
        return after
    return _typed_by_column(after, endpoint)


def _in_zone_of(own: datetime, moment: datetime) -> datetime:
    """The moment with a time zone where the resource's own start has one, else without."""
    is_aware = own.tzinfo is not None
    if (moment.tzinfo is not None) == is_aware:
        return moment
    if is_aware:
        return moment.replace(tzinfo=UTC)
    utc = moment.astimezone(UTC)
    return utc.replace(tzinfo=None)


def _typed_by_column(after: str, endpoint: Endpoint) -> Any:
    """The cursor as a whole number where its column is declared as one."""
    field = _cursor_field(endpoint)
    declared = "text"
    for column in endpoint.columns or ():
        if column.name == field:
            declared = column.type
    digits = after.removeprefix("-")
    if parse_type(declared).kind in INTEGER_BITS and digits.isdecimal():
        return int(after)
    return after


def _quoted(path: tuple[str, ...]) -> str:
    """The path as dlt's JSONPath; a name that is no plain word in quotes."""
    return ".".join(map(_quoted_name, path))


def _quoted_name(name: str) -> str:
    if name.isidentifier():
        return name
    escaped = name.replace("'", "\\'")
    return f"'{escaped}'"
