"""Control endpoints under `/_twin/`, for a twin that runs in another process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from sync_pipelines.demo.twin.answers import Answer, error_answer, json_answer
from sync_pipelines.demo.twin.faults import Fault
from sync_pipelines.demo.twin.mutate import mutate
from sync_pipelines.demo.twin.rows import Key, decode_json
from sync_pipelines.demo.twin.schema import TwinColumn
from sync_pipelines.demo.twin.store import TwinTable

if TYPE_CHECKING:
    from sync_pipelines.demo.twin.server import TwinServer

Query = dict[str, str]
Shown = dict[str, Any]
_FACTS_OF_A_REQUEST = (
    "at",
    "method",
    "kind",
    "slug",
    "page",
    "page_size",
    "rowversion_gt",
    "status",
    "bytes",
    "fault",
)


def control_answer(twin: TwinServer, method: str, path: str, query: Query, body: bytes) -> Answer:
    """Answer a control request whose caller is already known to hold the token."""
    try:
        value = decode_json(body) if body else None
        plain = _PLAIN.get((method, path))
        if plain is not None:
            answer = plain(twin, value)
            return json_answer(answer)
        action, _, slug = path.partition("/")
        of_table = _OF_TABLE.get((method, action))
        if of_table is None:
            return error_answer(404, f"no control endpoint {method} {path}")
        table = twin.store.get(slug)
        if table is None:
            return error_answer(404, f"unknown api {slug!r}")
        answer = of_table(table, value, query)
        return json_answer(answer)
    except (ValueError, TypeError, KeyError, msgspec.MsgspecError) as error:
        return error_answer(400, f"{type(error).__name__}: {error}")


def _tables(twin: TwinServer, _: Any) -> Shown:
    shown = {}
    for table in twin.store.tables():
        shown[table.slug] = {"rows": len(table), "log": len(table.log)}
    return shown


def _requests(twin: TwinServer, _: Any) -> list[Shown]:
    shown = []
    for request in twin.requests_log:
        facts = {name: getattr(request, name) for name in _FACTS_OF_A_REQUEST}
        shown.append(facts)
    return shown


def _add_fault(twin: TwinServer, value: Any) -> Shown:
    fault = Fault.from_json(value)
    added = twin.faults.add(fault)
    return {"name": added.name}


def _clear_faults(twin: TwinServer, _: Any) -> Shown:
    twin.faults.clear()
    return {"cleared": True}


def _put(table: TwinTable, value: Any, _: Query) -> Shown:
    count = table.put_many(value)
    return {"put": count}


def _delete(table: TwinTable, value: Any, _: Query) -> Shown:
    keys = [_key(table, each) for each in value]
    for key in keys:
        table.delete(key)
    return {"deleted": len(keys)}


def _mutate(table: TwinTable, value: Any, _: Query) -> Shown:
    options = value or {}
    return mutate(table, **options)


def _truth(table: TwinTable, _: Any, query: Query) -> Shown:
    count, md5 = table.truth_digest()
    poison_keys = [list(key) for key in table.poison_keys]
    answer: Shown = {"count": count, "md5": md5, "poison_keys": poison_keys}
    if query.get("full") == "1":
        truth = table.truth()
        answer["records"] = list(truth.values())
    return answer


def _column(table: TwinTable, value: Shown, _: Query) -> Shown:
    action = value.pop("action")
    name = value.pop("name")
    if action == "add":
        default = value.pop("default", None)
        touch = value.pop("touch", False)
        column = TwinColumn(name, **value)
        table.add_column(column, default, touch=touch)
    elif action == "change":
        table.change_column(name, **value)
    elif action == "drop":
        table.drop_column(name, **value)
    else:
        raise ValueError(f"action must be add, change or drop, not {action!r}")
    return table.describe()


def _key(table: TwinTable, value: Any) -> Key:
    """Read a key sent as a list, as an object, or bare when it has one column."""
    if isinstance(value, dict):
        return table.key_of(value)
    if isinstance(value, list):
        return tuple(value)
    return (value,)


# The action, for a method and a path.
_PLAIN: dict[tuple[str, str], Callable[[TwinServer, Any], Any]] = {
    ("GET", "tables"): _tables,
    ("GET", "requests"): _requests,
    ("POST", "fault"): _add_fault,
    ("DELETE", "fault"): _clear_faults,
}
# The action on the table that the path names behind it.
_OF_TABLE: dict[tuple[str, str], Callable[[TwinTable, Any, Query], Any]] = {
    ("POST", "put"): _put,
    ("POST", "delete"): _delete,
    ("POST", "mutate"): _mutate,
    ("GET", "truth"): _truth,
    ("POST", "column"): _column,
}
