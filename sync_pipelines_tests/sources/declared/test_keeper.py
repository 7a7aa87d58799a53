"""Translation keeps every value byte for byte, whatever the records look like."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.batches.raw_json import compile_path, elements, find_records, members
from sync_pipelines.batches.records import elements_of, members_of
from sync_pipelines.errors import BrokenPageError, SettingsError, SourceContractError
from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.sources.declared.keeper import Keeper

numbers = st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?\Z")
texts = st.text(max_size=8).map(json.dumps)
scalars = st.one_of(
    numbers,
    texts,
    st.sampled_from(["null", "true", "false", "[]", "{}", '[1, {"a" : 2}]', '"\\ud800"']),
)
names = st.sampled_from(["id", "name", "a", "b.c", "source.name", "ü", 'q"'])
records = st.recursive(
    scalars,
    lambda inner: st.dictionaries(names, inner, max_size=4).map(
        lambda one: (
            "{" + ", ".join(f"{json.dumps(name)} : {value}" for name, value in one.items()) + "}"
        )
    ),
    max_leaves=8,
)
objects = st.dictionaries(names, records, max_size=5)


@given(st.lists(objects, max_size=4))
def test_every_value_arrives_as_its_own_bytes(found):
    texts_of = [
        "{" + ",".join(f"{json.dumps(name)}: {value}" for name, value in one.items()) + "}"
        for one in found
    ]
    body = ("[" + ",".join(texts_of) + "]").encode()
    endpoint = Endpoint(path="/x", mapping={"name": "label"})
    kept = Keeper(endpoint, ["id", "label"]).keep(body)
    rows = elements(members(kept.body)["rows"])
    assert len(rows) == kept.count == len(found)
    for row, source in zip(rows, found, strict=True):
        data = members(members(row)["data"])
        expected = {
            {"name": "label"}.get(name, name): value.encode() for name, value in source.items()
        }
        assert {name: value.strip() for name, value in data.items()} == expected


@given(objects)
def test_the_fast_and_the_patient_reader_agree(found):
    body = (
        "{" + ",".join(f"{json.dumps(name)}: {value}" for name, value in found.items()) + "}"
    ).encode()
    assert {name: value.strip() for name, value in members(body).items()} == {
        name: value.strip() for name, value in members_of(body).items()
    }
    listed = b"[" + body + b" , 1]"
    assert [one.strip() for one in elements(listed)] == [one.strip() for one in elements_of(listed)]


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:1aen ', max_size=40).map(str.encode))
def test_any_bytes_are_records_or_a_broken_page(body):
    try:
        records_found = find_records(body, "$.rows[*]", max_record_bytes=1000)
    except (BrokenPageError, SourceContractError):
        return
    assert isinstance(records_found, list)


@pytest.mark.parametrize(
    "path, body, expected",
    [
        ("$", b"[1, 2]", [b"1", b"2"]),
        ("$[*]", b'[{"a":1}]', [b'{"a":1}']),
        ("$.a.b", b'{"a":{"b":[1.10]}}', [b"1.10"]),
        ("a", b'{"a":{"x":1}}', [b'{"x":1}']),
        ("$.a[*].b", b'{"a":[{"b":[1]},{"b":[2]}]}', [b"1", b"2"]),
        ("$.a[0]", b'{"a":[[7],[8]]}', [b"7"]),
        ('$."odd name"', b'{"odd name":[3]}', [b"3"]),
    ],
)
def test_a_json_path_leads_to_the_records(path, body, expected):
    assert find_records(body, path, max_record_bytes=1000) == expected


@pytest.mark.parametrize("path", ["$..a", "$.a[0:2]", "$.a|$.b", "$[?(@.x>1)]", "", "$.", "]"])
def test_a_json_path_that_leads_to_several_places_is_refused(path):
    with pytest.raises(SettingsError):
        compile_path(path)


def test_one_record_with_a_literal_that_is_no_json_spoils_only_itself():
    assert find_records(b'[{"a": NaN}, {"a": 1}]', "$", max_record_bytes=1000) == [
        b'{"a": NaN}',
        b'{"a": 1}',
    ]
