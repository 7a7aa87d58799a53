"""A small table and a plain http client."""

import http.client
import json
from dataclasses import dataclass
from urllib.parse import urlencode

from sync_pipelines.demo.twin import IntegerRowversions, TwinColumn, TwinTable

TOKEN = "test-token-5f1c"


@dataclass
class Response:
    """What came back: status, headers and the whole body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def rows(self):
        return self.json["rows"]

    @property
    def numbers(self):
        return [row["data"]["item_number"] for row in self.rows]


class Client:
    """Keep-alive http client of one server."""

    def __init__(self, port, token=TOKEN, timeout=5):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def send(self, method, path, value=None, headers=None):
        body = None if value is None else json.dumps(value).encode()
        self.connection.request(method, path, body, self.headers | (headers or {}))
        answer = self.connection.getresponse()
        return Response(answer.status, answer.headers, answer.read())

    def get(self, path, headers=None, **query):
        return self.send("GET", f"{path}?{urlencode(query)}" if query else path, headers=headers)

    def data(self, slug="items", **query):
        return self.get(f"/api/v1/data/{slug}", **query)

    def walk(self, slug="items", page_size=10, **query):
        """Read all rows page by page, as S2's loop does."""
        rows, page = [], 1
        while got := self.data(slug, page=page, page_size=page_size, **query).rows:
            rows += got
            page += 1
        return rows


def items_table(**options):
    columns = [
        TwinColumn("item_number", "VARCHAR2(50)", is_nullable=False),
        TwinColumn("item_description", "TEXT"),
        TwinColumn("weight_per_unit", "NUMERIC(10,3)"),
    ]
    options.setdefault("rowversions", IntegerRowversions(1, width=6))
    return TwinTable("items", "Items", "Product master data", columns, ["item_number"], **options)


def item(number, description="bolt", weight=1):
    return {"item_number": number, "item_description": description, "weight_per_unit": weight}
