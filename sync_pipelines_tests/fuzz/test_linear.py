"""Whatever a source or a file sends, no function takes more than linear CPU time for it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from sync_pipelines.batches.decode import PageDecoder
from sync_pipelines.batches.raw_json import compile_path, find_records
from sync_pipelines.batches.records import (
    elements_of,
    key_of,
    members_of,
    rowversion_of,
    split_records,
)
from sync_pipelines.batches.values import convert, json_depth
from sync_pipelines.declare.connector_file import validate
from sync_pipelines.declare.inputs import fill_inputs
from sync_pipelines.declare.source_file import SourceFile, parse_yaml
from sync_pipelines.downstream.sql_model import parse_model
from sync_pipelines.files.safe_yaml import read_yaml
from sync_pipelines.gate.dmn.feel import parse_literals, parse_tests
from sync_pipelines.gate.dmn_file import read_table
from sync_pipelines.gate.files import build_gate
from sync_pipelines.gate.masks import Masks
from sync_pipelines.model.cursor import Codec, check_page_order, infer_codec, order_key
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.model.entity import Connector
from sync_pipelines.model.incident import Condition, IncidentKind
from sync_pipelines.model.names import (
    asset_name_for,
    check_column_names,
    check_slug,
    table_name_for,
)
from sync_pipelines.model.types import parse_type
from sync_pipelines.observe.payload import OPENED, incident_payload
from sync_pipelines.runs import release, write_back
from sync_pipelines.secrets import printable, redact, redact_beginning, redact_data
from sync_pipelines.settings import Settings
from sync_pipelines.sources.declared.infer import infer_columns
from sync_pipelines.sources.declared.keeper import Keeper
from sync_pipelines.sources.descriptions import parse_apis
from sync_pipelines.sources.http.auth import token_of
from sync_pipelines.sources.http.documents import decode_document
from sync_pipelines.sources.http.failures import retry_after_seconds
from sync_pipelines.sources.http.traffic import Reply
from sync_pipelines.sources.rest.list_info import read_list_info
from sync_pipelines.sources.rest.openapi import plan_endpoints, read_document
from sync_pipelines.sources.rest.paginators import Pages
from sync_pipelines_tests.batches.cases import TYPES
from sync_pipelines_tests.batches.helpers import column, decode, entity_of, key
from sync_pipelines_tests.fuzz.inputs import FAMILIES, as_json, as_value
from sync_pipelines_tests.fuzz.openapi import DOCUMENTS
from sync_pipelines_tests.fuzz.oracle import Taker, fault_of
from sync_pipelines_tests.gate.helpers import dmn, write_gate

ENTITY = entity_of(
    key("id", "BIGINT"), column("name"), column("amount", "NUMERIC"), column("extra", "JSON")
)
CONNECTOR = Connector(uuid4(), "erp", "http://erp.example", None, "erp")
NOW = datetime(2026, 11, 28, tzinfo=UTC)
LISTED = Endpoint.model_validate(
    {
        "path": "/items",
        "records": "$.data",
        "key": ["id"],
        "mapping": {"a.b": "name"},
        "flatten": True,
    }
)


def _in_page(value: bytes) -> bytes:
    return (
        b'{"rows":[{"row_version":"1","data":{"id":1,"name":'
        + value
        + b',"extra":'
        + value
        + b"}}]}"
    )


def _pages(pagination: dict[str, object]) -> Pages:
    endpoint = Endpoint.model_validate({"path": "/items", "key": ["id"], "pagination": pagination})
    return Pages(endpoint, "http://erp.example/items", {}, 10)


def _rejects(content: bytes) -> object:
    page = decode(PageDecoder(ENTITY), 1, _in_page(content))
    return [redact_data(dataclasses.asdict(reject)["reason"]) for reject in page.rejects]


def _message(content: bytes) -> object:
    text = as_value(content)
    condition = Condition(
        IncidentKind.FRESHNESS, "erp/items", text, "sync-pipelines runs", {"error": text}
    )
    return incident_payload(
        OPENED, "1", condition, opened_at=NOW, at=NOW, over_since=None, ui_url=None
    )


def _gate(text: str, **files: str) -> object:
    with tempfile.TemporaryDirectory() as folder:
        return build_gate(write_gate(Path(folder), text, ENTITY, **files), ENTITY)


def _rule(kind: str, content: bytes) -> object:
    quoted = "'" + as_value(content).replace("'", "''").encode("utf-8", "replace").decode() + "'"
    return _gate(f"rules:\n  - name: one\n    {kind}: {quoted}\n")


def _table(content: bytes) -> object:
    cell = as_value(content).encode("utf-8", "replace").decode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.dmn"
        path.write_text(dmn(f'{cell.replace("|", "/")} | "PASS"'))
        return read_table(path)


def _apis(content: bytes) -> object:
    text = as_value(content)
    one = {
        "slug": text,
        "name": text,
        "description": text,
        "columns": [{"name": text, "data_type": text}],
        "delta_strategy": text,
    }
    return parse_apis(
        [one, text, {"slug": "a", "columns": [{"name": "id", "data_type": text[:200]}]}],
        CONNECTOR,
        Settings(),
    )


def _decisions(content: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.dmn"
        path.write_bytes(content)
        return read_table(path)


def _model(content: bytes) -> object:
    return parse_model(
        Path("reports/users.sql"), as_value(content).encode("utf-8", "replace").decode()
    )


def _answer_with(header: str) -> Taker:
    return lambda content: read_list_info(
        Reply(b'{"data":[1],"x":1}', {header: as_value(content)}, "http://erp.example/items"),
        "$.data",
    )


TAKERS: dict[str, Taker] = {
    "redact": lambda content: redact(as_value(content)),
    "redact_beginning": lambda content: redact_beginning(as_value(content), len(content) // 2),
    "printable": lambda content: printable(as_value(content), 200),
    "redact_data": lambda content: redact_data({"a": [as_value(content)]}),
    "page": lambda content: decode(PageDecoder(ENTITY), 1, content),
    "page of a list": lambda content: decode(PageDecoder(ENTITY), 1, b'{"rows":' + content + b"}"),
    "page with a value": lambda content: decode(PageDecoder(ENTITY), 1, _in_page(content)),
    "page with a text": lambda content: decode(PageDecoder(ENTITY), 1, _in_page(as_json(content))),
    "rejects of a page": _rejects,
    "split_records": split_records,
    "members_of": members_of,
    "elements_of": elements_of,
    "key_of": lambda content: key_of(as_value(content), ENTITY),
    "rowversion_of": lambda content: rowversion_of('{"row_version":' + as_value(content) + "}"),
    "find_records": lambda content: find_records(content, "$", max_record_bytes=len(content) // 2),
    "find_records deeper": lambda content: find_records(
        b'{"data":' + content + b"}", "$.data", max_record_bytes=1000
    ),
    "translate": lambda content: Keeper(LISTED, ["id", "name"]).keep(b'{"data":' + content + b"}"),
    "infer_columns": lambda content: infer_columns(
        LISTED, b'{"data":[{"id":1,"a":' + content + b"}]}", 10_000_000
    ),
    "json_depth": lambda content: json_depth(as_value(content)),
    "compile_path": lambda content: compile_path(as_value(content)),
    "masks": lambda content: Masks(ENTITY, {"name": b"k" * 16}, frozenset({"extra"})).hide_record(
        _in_page(content)[9:-2]
    ),
    "token answer": token_of,
    "link header": lambda content: _pages({"type": "link_header"}).advance(
        _reply(b"{}", as_value(content)), 10
    ),
    "next link": lambda content: _pages({"type": "next_link", "next_path": "$.next"}).advance(
        _reply(b'{"next":' + content + b"}"), 10
    ),
    "next cursor": lambda content: _pages(
        {"type": "cursor", "cursor_path": "next", "cursor_param": "c"}
    ).advance(_reply(content), 10),
    "retry after": lambda content: retry_after_seconds(as_value(content)),
    "list info of headers": lambda content: [
        _answer_with(name)(content) for name in ("link", "x-next-page", "x-total-count", "x-total")
    ],
    "list info beside a list": lambda content: read_list_info(
        _reply(b'{"data":[1],"meta":{"next":' + content + b"}}"), "$.data"
    ),
    "write-back of a member": lambda content: write_back._changed(
        b'{"id":1,"a":' + content + b"}", ("a", "b"), b"1"
    ),
    "write-back of a record": lambda content: write_back._changed(content, ("a", "b"), b"1"),
    "value of a row": lambda content: write_back._text(as_json(content)),
    "edited record": lambda content: release._changed(
        b'{"data":{"id":1,"name":' + content + b"}}", {"name": "x"}, ENTITY
    ),
    "edited file": lambda content: release.refusal_of(content, ENTITY, None),
    "SQL model": lambda content: _model(b"SELECT * FROM a.b WHERE " + content),
    "SQL model of a text": lambda content: _model(content),
    "DMN document": _decisions,
    "DMN definitions": lambda content: _decisions(
        b'<definitions xmlns="https://www.omg.org/spec/DMN/20191111/MODEL/">'
        + content
        + b"</definitions>"
    ),
    "yaml": read_yaml,
    "yaml of texts": lambda content: read_yaml(b"a: " + content, only_texts=True),
    "connector file": lambda content: validate(
        fill_inputs(parse_yaml(b"name: shop\nkind: rest\nbase_url: " + content, "f"), {}),
        SourceFile("f", {}, {}),
    ),
    "openapi": lambda content: plan_endpoints(read_document(content, "d"), {}),
    "openapi path": lambda content: plan_endpoints(_document(as_value(content)), {}),
    "apis": _apis,
    "document": decode_document,
    "parse_type": lambda content: parse_type(as_value(content)),
    "slug": lambda content: check_slug(as_value(content)),
    "table name": lambda content: table_name_for(content.decode("utf-8", "replace")),
    "asset name": lambda content: asset_name_for(as_value(content)),
    "column names": lambda content: check_column_names([content.decode("utf-8", "replace"), "a"]),
    "feel tests": lambda content: parse_tests(as_value(content)),
    "feel literals": lambda content: parse_literals(as_value(content)),
    "decision table": _table,
    "rule expression": lambda content: _rule("expression", content),
    "incident": _message,
    "infer_codec": lambda content: infer_codec([as_value(content)] * 2),
}
TAKERS |= {
    f"codec {codec}": lambda content, codec=codec: order_key(codec, as_value(content))
    for codec in Codec
}
TAKERS |= {
    f"order {codec}": lambda content, codec=codec: check_page_order(
        codec, [as_value(content)] * 2, "0"
    )
    for codec in Codec
}
TAKERS |= {
    f"text as {one} {one.hexadecimal}": lambda content, one=one: convert(as_value(content), one)
    for one in TYPES
}


def _reply(body: bytes, link: str | None = None) -> Reply:
    return Reply(body, {} if link is None else {"link": link}, "http://erp.example/items")


def _document(path: str) -> dict[str, object]:
    schema = {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"id": {"type": "string", "pattern": path, "format": path}},
        },
    }
    answer = {"200": {"content": {"application/" + path + "+json": {"schema": schema}, path: {}}}}
    parameters = [{"name": path, "in": "query"}, {"$ref": "#/" + path}]
    return {
        "openapi": "3.0.0",
        "paths": {
            path: {"get": {"responses": answer}},
            "/" + path: {"get": {"parameters": parameters}},
        },
    }


@pytest.mark.parametrize("name", TAKERS)
def test_no_text_takes_more_than_linear_time(name: str) -> None:
    # The parser of SQL takes microseconds a byte, whatever the bytes.
    most_bytes = 16_000 if name.startswith("SQL") else 256_000
    faults = {
        family: fault
        for family, make in FAMILIES.items()
        if (fault := fault_of(TAKERS[name], make, most_bytes)) is not None
    }
    assert not faults


NUMBERS: dict[str, Callable[[int], bytes]] = {
    "digits": lambda size: b"7" * size,
    "zeros": lambda size: b"0." + b"0" * size,
    "a fraction": lambda size: b"1." + b"3" * size,
    "a small one": lambda size: b"3" * size + b"e-" + str(size).encode(),
}


@pytest.mark.parametrize("declared", TYPES, ids=str)
@pytest.mark.parametrize("family", NUMBERS)
def test_no_number_takes_more_than_linear_time(family: str, declared: object) -> None:
    assert (
        fault_of(lambda content: convert(Decimal(content.decode()), declared), NUMBERS[family])
        is None
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_openapi_document_takes_more_than_linear_time(name: str) -> None:
    """The columns of all operations are at most operations times fields, until MAX_DOCUMENT_COLUMNS of them."""

    def planned(content: bytes) -> object:
        return plan_endpoints(read_document(content, "d"), {})

    assert fault_of(planned, DOCUMENTS[name], limited_bytes=64_000) is None
