"""Answers, honest or broken, before they go on the wire."""

from __future__ import annotations

import functools
import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from sync_pipelines.demo.twin.faults import Fault
from sync_pipelines.demo.twin.rows import encode_json

JSON = "application/json"
_CHUNK = 1 << 20
_EMPTY_PAGE = (b'{"rows":[', b"]}")


@dataclass
class Answer:
    """Status, headers and body; a body that is an iterator needs its length."""

    status: int = 200
    body: bytes | Iterator[bytes] = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None

    @property
    def content_length(self) -> int:
        """The length of the whole body."""
        if self.length is not None:
            return self.length
        body = cast("bytes", self.body)
        return len(body)

    @property
    def pieces(self) -> Iterable[bytes]:
        """The body, in one piece or in those of its iterator."""
        if isinstance(self.body, bytes):
            return [self.body]
        return self.body


def json_answer(value: Any, status: int = 200) -> Answer:
    """Return the value as a JSON answer."""
    return Answer(status, encode_json(value))


def error_answer(status: int, detail: str) -> Answer:
    """Return an error in the contract's form."""
    return json_answer({"detail": detail}, status)


def is_replaced(fault: Fault | None) -> bool:
    """Return whether the fault brings its own answer, so that none need be computed."""
    if fault is None:
        return False
    if fault.body is not None or fault.redirect_to is not None:
        return True
    if fault.status not in (None, 200):
        return True
    switches = (
        fault.echo_authorization,
        fault.empty_rows,
        fault.deep_levels,
        fault.gzip_bomb_bytes,
        fault.giant_bytes,
    )
    return any(switches)


def broken_answer(fault: Fault, authorization: str) -> Answer:
    """Return the answer the fault gives in place of the real one."""
    if fault.redirect_to is not None:
        return Answer(302, headers={"Location": fault.redirect_to})
    if fault.echo_authorization:
        detail = f"upstream refused the request with Authorization: {authorization}"
        return error_answer(500, detail)
    if fault.deep_levels:
        opened = b"[" * fault.deep_levels
        closed = b"]" * fault.deep_levels
        return Answer(body=b'{"rows":' + opened + closed + b"}")
    if fault.gzip_bomb_bytes:
        bomb = gzip_bomb(fault.gzip_bomb_bytes)
        return Answer(body=bomb, headers={"Content-Encoding": "gzip"})
    if fault.giant_bytes:
        return Answer(body=_padded_page(fault.giant_bytes), length=fault.giant_bytes)
    if fault.empty_rows:
        return Answer(body=b"".join(_EMPTY_PAGE))
    if fault.body is not None:
        return Answer(body=fault.body)
    return error_answer(fault.status or 200, f"twin fault: {fault.name}")


def dress(answer: Answer, fault: Fault) -> Answer:
    """Apply what the fault says of status, headers and the body's bytes."""
    if fault.status:
        answer.status = fault.status
    if fault.content_type is not None:
        answer.content_type = fault.content_type
    answer.headers |= fault.headers
    if fault.invalid_gzip:
        answer.headers["Content-Encoding"] = "gzip"
    if fault.truncate_at_byte is not None and isinstance(answer.body, bytes):
        answer.body = answer.body[: fault.truncate_at_byte]
    return answer


def compressed(answer: Answer) -> Answer:
    """Return the answer with its body in gzip."""
    body = cast("bytes", answer.body)
    answer.body = gzip.compress(body, compresslevel=1)
    answer.headers["Content-Encoding"] = "gzip"
    return answer


@functools.lru_cache(maxsize=4)
def gzip_bomb(size: int) -> bytes:
    """Return gzip that unpacks to an empty page padded with blanks to `size` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = [packer.compress(chunk) for chunk in _padded_page(size)]
    packed.append(packer.flush())
    return b"".join(packed)


def _padded_page(size: int) -> Iterator[bytes]:
    head, tail = _EMPTY_PAGE
    left = size - len(head) - len(tail)
    yield head
    while left > 0:
        yield b" " * min(_CHUNK, left)
        left -= _CHUNK
    yield tail
