"""The source server: the APISmith protocol over generated records, in a separate process.

    GET  /api/v1/apis, /api/v1/data/{slug}?rowversion_gt=&page=&page_size=
    POST /control/reset?rows=&slugs=, /control/evolve?changed=&gone=, /control/append?new=&changed=&same=,
         /control/latency?seconds=
    GET  /control/stats

Per record it keeps 13 bytes (key, rowversion, revision), never text; a page is found by binary search.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from benchmarks.records import Numbers, describe, parse_rowversion, render_page

TIED = 7
_STEP = 7_368_787  # a prime: multiplying by it permutes the keys


@dataclass
class Table:
    """The records of one API in rowversion order, without their text."""

    keys: Numbers
    versions: Numbers
    revisions: Numbers
    next_key: int
    next_version: int

    @classmethod
    def filled(cls, rows: int) -> Table:
        """`rows` records; seven share each rowversion, and keys come in no order."""
        places = np.arange(rows, dtype=np.int64)
        keys, versions = (places * _STEP) % rows, places // TIED
        return cls(
            keys, versions.astype(np.int32), np.zeros(rows, np.uint8), rows, rows // TIED + 1
        )

    def page(self, rowversion_gt: str | None, number: int, size: int) -> bytes:
        """One answer of the data endpoint."""
        # A number of another type would make numpy convert all versions first.
        after = self.versions.dtype.type(parse_rowversion(rowversion_gt)) if rowversion_gt else None
        start = 0 if after is None else int(np.searchsorted(self.versions, after, "right"))
        part = slice(start + (number - 1) * size, start + number * size)
        return render_page(self.keys[part], self.revisions[part], self.versions[part])

    def evolve(self, changed: float, gone: float) -> dict[str, int]:
        """Change and remove evenly spread shares of the records; changed ones get new rowversions."""
        places = np.arange(len(self.keys))
        is_gone = places % round(1 / gone) == 1 if gone else np.zeros(len(places), bool)
        is_changed = (
            (places % round(1 / changed) == 0) & ~is_gone
            if changed
            else np.zeros(len(places), bool)
        )
        keys, revisions = self.keys[is_changed], self.revisions[is_changed] + np.uint8(1)
        self._replace(is_gone | is_changed, keys, revisions)
        return {"changed": int(is_changed.sum()), "gone": int(is_gone.sum())}

    def append(self, new: int, changed: int, same: int) -> dict[str, int]:
        """Send so many records under new rowversions: unknown keys, other content, and the same content again."""
        places = (
            np.linspace(0, len(self.keys) - 1, changed + same).astype(np.int64)
            if changed + same
            else np.zeros(0, np.int64)
        )
        moved = np.zeros(len(self.keys), bool)
        moved[places] = True
        old = np.random.default_rng(self.next_version).permutation(places)
        revisions = self.revisions[old]
        revisions[:changed] += np.uint8(1)
        keys = np.concatenate([self.keys[old], np.arange(self.next_key, self.next_key + new)])
        self.next_key += new
        self._replace(moved, keys, np.concatenate([revisions, np.zeros(new, np.uint8)]))
        return {"new": new, "changed": changed, "same": same}

    def _replace(self, leaving: Numbers, keys: Numbers, revisions: Numbers) -> None:
        versions = (self.next_version + np.arange(len(keys)) // TIED).astype(np.int32)
        self.next_version += len(keys) // TIED + 1
        self.keys = np.concatenate([self.keys[~leaving], keys])
        self.versions = np.concatenate([self.versions[~leaving], versions])
        self.revisions = np.concatenate([self.revisions[~leaving], revisions])


class Source:
    """All tables and the count of requests."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.requests = 0
        self.latency_seconds = 0.0

    def answer(self, target: str) -> tuple[int, bytes]:
        """Status and body for a request target."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query))
        if url.path.startswith("/api/v1/data/"):
            self.requests += 1
            table = self.tables.get(url.path.removeprefix("/api/v1/data/"))
            if table is None:
                return 404, b"{}"
            return 200, table.page(
                query.get("rowversion_gt"),
                int(query.get("page", 1)),
                int(query.get("page_size", 1000)),
            )
        if url.path == "/api/v1/apis":
            return 200, json.dumps([describe(slug) for slug in self.tables]).encode()
        if url.path.startswith("/control/"):
            return 200, json.dumps(self.control(url.path.removeprefix("/control/"), query)).encode()
        return 404, b"{}"

    def control(self, action: str, query: dict[str, str]) -> Any:
        """Change the tables, or return how they are."""
        if action == "reset":
            slugs = [f"items{number:02}" for number in range(int(query.get("slugs", 1)))]
            self.tables = {slug: Table.filled(int(query["rows"])) for slug in slugs}
        elif action == "latency":
            self.latency_seconds = float(query["seconds"])
        elif action == "evolve":
            return {
                slug: table.evolve(float(query["changed"]), float(query["gone"]))
                for slug, table in self.tables.items()
            }
        elif action == "append":
            counts = {name: int(query[name]) for name in ("new", "changed", "same")}
            return {slug: table.append(**counts) for slug, table in self.tables.items()}
        return {
            "requests": self.requests,
            "rows": {slug: len(table.keys) for slug, table in self.tables.items()},
        }


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as our clients speak it: requests without body, kept alive."""

    def __init__(self, source: Source) -> None:
        self.source, self.waiting = source, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        # uvloop's transports are none of asyncio's classes.
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            target = self.waiting.split(b" ", 2)[1].decode()
            self.waiting = self.waiting[end + 4 :]
            status, body = self.source.answer(target)
            head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            answer = [head.encode(), body]
            if self.source.latency_seconds and target.startswith("/api/v1/data/"):
                asyncio.get_running_loop().call_later(
                    self.source.latency_seconds, self.transport.writelines, answer
                )
            else:
                self.transport.writelines(answer)


async def serve() -> None:
    """Listen on a free port, print it, and answer until killed or standard input ends."""
    loop, source = asyncio.get_running_loop(), Source()
    server = await loop.create_server(lambda: Connection(source), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())
