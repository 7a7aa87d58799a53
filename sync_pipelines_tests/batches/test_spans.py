"""The end of a value is found whatever its depth, in one pass, and only where its brackets match."""

from __future__ import annotations

import pytest

from sync_pipelines.batches.raw_json import elements, members
from sync_pipelines.batches.sieve import sift_page
from sync_pipelines.batches.spans import end_of_nested
from sync_pipelines.sources.http.traffic import Reply
from sync_pipelines.sources.rest.list_info import read_list_info
from sync_pipelines.sources.rest.paginators import _Response

DEEP = "[" * 50_000 + "]" * 50_000


@pytest.mark.parametrize(
    "value",
    ["[]", "{}", '{"a": "]}\\"["}', '["\\\\", {"b": [1, "}"]}]', DEEP, '{"é": ["😀"]}', '["a\nb"]'],
)
def test_the_end_of_a_value_is_its_last_bracket(value: str) -> None:
    assert end_of_nested(f"xx{value}, []]", 2) == 2 + len(value)


@pytest.mark.parametrize(
    "broken", ["[", '{"a": [}', "[}", '["a', '["a\\"', '["\\', "[" * 50_000, '["' + '\\"' * 200_000]
)
def test_a_value_without_an_end_is_an_error(broken: str) -> None:
    with pytest.raises(ValueError, match=r"no end|do not match"):
        end_of_nested(broken, 0)


def test_what_is_beside_a_record_that_is_too_deep_is_read() -> None:
    body = f'{{"data": [{{"id": 1}}, {{"id": 2, "x": {DEEP}}}], "has_more": true, "next": "abc"}}'.encode()
    found = members(body)
    assert found is not None
    assert (found["has_more"], found["next"]) == (b"true", b'"abc"')
    assert [raw[:8] for raw in elements(found["data"]) or ()] == [b'{"id": 1', b'{"id": 2']
    reply = Reply(body, {}, "http://source/items")
    assert _Response(reply).json()["next"] == "abc"
    assert "has_more" in (read_list_info(reply, "$.data").more or "")


def test_a_large_page_with_a_record_that_is_too_deep_loses_only_its_large_values() -> None:
    body = f'{{"rows":[{{"data": {{"id": 1}}}}, {{"data": {{"id": 2, "x": {DEEP}}}}}]}}'.encode()
    sifted = sift_page(body, 10_000)
    assert sifted.startswith(b'{"rows":[{"data": {"id": 1}},')
    assert len(sifted) < 1000
