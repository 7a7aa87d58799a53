"""Stock dlt as its documentation shows it: `rest_api` source, `merge` into `postgres`, everything else by default."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from benchmarks.measure import Place, measured


def first(place: Place) -> dict[str, Any]:
    """First load by page number, which is what rest_api knows."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    from dlt.destinations import postgres
    from dlt.sources.rest_api import rest_api_source

    source = rest_api_source(
        {
            "client": {
                "base_url": place.source_url,
                "paginator": {
                    "type": "page_number",
                    "base_page": 1,
                    "page_param": "page",
                    "total_path": None,
                    "stop_after_empty_page": True,
                },
            },
            "resources": [
                {
                    "name": "items00",
                    "primary_key": "item_number",
                    "write_disposition": "merge",
                    "endpoint": {
                        "path": "api/v1/data/items00",
                        "params": {"page_size": 1000},
                        "data_selector": "rows",
                    },
                    "processing_steps": [
                        {"map": lambda row: {**row["data"], "row_version": row["row_version"]}}
                    ],
                }
            ],
        }
    )
    with tempfile.TemporaryDirectory() as folder, measured(place) as found:
        pipeline = dlt.pipeline(
            "stock",
            destination=postgres(_with_host(place.database_url)),
            dataset_name="stock",
            pipelines_dir=folder,
        )
        pipeline.run(source)
        with pipeline.sql_client() as client:
            found["live"] = client.execute_sql("SELECT count(*) FROM items00")[0][0]  # type: ignore[index]
    return {**found, "fetched": found["live"]}


def _with_host(url: str) -> str:
    """dlt wants a host; libpq prefers the socket folder that the query names."""
    scheme, _, rest = url.partition("://")
    user, _, path = rest.partition("@")
    return f"{scheme}://{user.rstrip(':')}:unused@localhost{path}"
