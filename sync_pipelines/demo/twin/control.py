"""Control endpoints under `/_twin/`, for a twin that runs in another process."""

from __future__ import annotations

import typing as t

import msgspec

from sync_pipelines.demo.twin.answers import Answer, error_answer, json_answer
from sync_pipelines.demo.twin.faults import Fault
from sync_pipelines.demo.twin.mutate import mutate
from sync_pipelines.demo.twin.rows import decode_json
from sync_pipelines.demo.twin.schema import TwinColumn
from sync_pipelines.demo.twin.store import TwinTable

if t.TYPE_CHECKING:
    from sync_pipelines.demo.twin.server import TwinServer


def control_answer(
    twin: TwinServer, method: str, path: str, query: dict[str, str], body: bytes
) -> Answer:
    """Answer a control request whose caller is already known to hold the token."""
    action, _, slug = path.partition("/")
    try:
        value = decode_json(body) if body else None
        if (method, path) in _PLAIN:
            return json_answer(_PLAIN[method, path](twin, value))
        handler = _OF_TABLE.get((method, action))
        if handler is None:
            return error_answer(404, f"no control endpoint {method} {path}")
        table = twin.store.get(slug)
        if table is None:
            return error_answer(404, f"unknown api {slug!r}")
        return json_answer(handler(table, value, query))
    except (ValueError, TypeError, KeyError, msgspec.MsgspecError) as error:
        return error_answer(400, f"{type(error).__name__}: {error}")


def _tables(twin: TwinServer, _: t.Any) -> dict[str, t.Any]:
    return {
        table.slug: {"rows": len(table), "log": len(table.log)} for table in twin.store.tables()
    }


def _requests(twin: TwinServer, _: t.Any) -> list[dict[str, t.Any]]:
    wanted = (
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
    return [{name: getattr(request, name) for name in wanted} for request in twin.requests_log]


def _add_fault(twin: TwinServer, value: t.Any) -> dict[str, t.Any]:
    return {"name": twin.faults.add(Fault.from_json(value)).name}


def _clear_faults(twin: TwinServer, _: t.Any) -> dict[str, t.Any]:
    twin.faults.clear()
    return {"cleared": True}


def _put(table: TwinTable, value: t.Any, _: dict[str, str]) -> dict[str, t.Any]:
    return {"put": table.put_many(value)}


def _delete(table: TwinTable, value: t.Any, _: dict[str, str]) -> dict[str, t.Any]:
    keys = [_key(table, each) for each in value]
    for key in keys:
        table.delete(key)
    return {"deleted": len(keys)}


def _mutate(table: TwinTable, value: t.Any, _: dict[str, str]) -> dict[str, t.Any]:
    return mutate(table, **(value or {}))


def _truth(table: TwinTable, _: t.Any, query: dict[str, str]) -> dict[str, t.Any]:
    count, md5 = table.truth_digest()
    answer: dict[str, t.Any] = {
        "count": count,
        "md5": md5,
        "poison_keys": [list(key) for key in table.poison_keys],
    }
    if query.get("full") == "1":
        answer["records"] = list(table.truth().values())
    return answer


def _column(table: TwinTable, value: dict[str, t.Any], _: dict[str, str]) -> dict[str, t.Any]:
    action = value.pop("action")
    name = value.pop("name")
    if action == "add":
        default = value.pop("default", None)
        touch = value.pop("touch", False)
        table.add_column(TwinColumn(name, **value), default, touch=touch)
    elif action == "change":
        table.change_column(name, **value)
    elif action == "drop":
        table.drop_column(name, **value)
    else:
        raise ValueError(f"action must be add, change or drop, not {action!r}")
    return table.describe()


def _key(table: TwinTable, value: t.Any) -> tuple[t.Any, ...]:
    """Read a key sent as a list, as an object, or bare when it has one column."""
    if isinstance(value, dict):
        return table.key_of(value)
    return tuple(value) if isinstance(value, list) else (value,)


_PLAIN: dict[tuple[str, str], t.Callable[[TwinServer, t.Any], t.Any]] = {
    ("GET", "tables"): _tables,
    ("GET", "requests"): _requests,
    ("POST", "fault"): _add_fault,
    ("DELETE", "fault"): _clear_faults,
}
_OF_TABLE: dict[tuple[str, str], t.Callable[[TwinTable, t.Any, dict[str, str]], t.Any]] = {
    ("POST", "put"): _put,
    ("POST", "delete"): _delete,
    ("POST", "mutate"): _mutate,
    ("GET", "truth"): _truth,
    ("POST", "column"): _column,
}
