"""The query of a declared endpoint's requests."""

from __future__ import annotations

import pytest

from sync_pipelines.model.endpoint import Endpoint
from sync_pipelines.sources.rest.requests import query_of

ID = {"name": "id", "type": "bigint", "key": True}


@pytest.mark.parametrize(
    ("columns", "fields", "query"),
    [
        ([ID], ["id"], {"fields": "id"}),
        ([], ["id"], {"fields": ""}),
        ([], [], {"fields": ""}),
        ([ID], None, {}),
        (None, ["id"], {}),
    ],
)
def test_the_fields_are_named_wherever_they_are_chosen_also_when_there_is_none(
    columns: list[dict[str, object]] | None, fields: list[str] | None, query: dict[str, str]
) -> None:
    declared = {"path": "/users", "columns": columns, "fields": fields, "fields_param": "fields"}
    assert query_of(Endpoint.model_validate(declared)) == query
