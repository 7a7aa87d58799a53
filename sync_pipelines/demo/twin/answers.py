"""Answers, honest or broken, before they go on the wire."""

from __future__ import annotations

import functools
import gzip
import typing as t
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

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
        return self.length if self.length is not None else len(t.cast("bytes", self.body))


def json_answer(value: t.Any, status: int = 200) -> Answer:
    """Return the value as a JSON answer."""
    return Answer(status, encode_json(value))


def error_answer(status: int, detail: str) -> Answer:
    """Return an error in the contract's form."""
    return json_answer({"detail": detail}, status)


def is_replaced(fault: Fault | None) -> bool:
    """Tell whether the fault brings its own answer, so that none need be computed."""
    return fault is not None and (
        fault.body is not None
        or fault.redirect_to is not None
        or fault.echo_authorization
        or fault.empty_rows
        or (fault.status is not None and fault.status != 200)
        or any((fault.deep_levels, fault.gzip_bomb_bytes, fault.giant_bytes))
    )


def broken_answer(fault: Fault, authorization: str) -> Answer:
    """Return the answer the fault gives in place of the real one."""
    if fault.redirect_to is not None:
        answer = Answer(302, headers={"Location": fault.redirect_to})
    elif fault.echo_authorization:
        answer = error_answer(
            500, f"upstream refused the request with Authorization: {authorization}"
        )
    elif fault.deep_levels:
        answer = Answer(
            body=b'{"rows":' + b"[" * fault.deep_levels + b"]" * fault.deep_levels + b"}"
        )
    elif fault.gzip_bomb_bytes:
        answer = Answer(body=gzip_bomb(fault.gzip_bomb_bytes), headers={"Content-Encoding": "gzip"})
    elif fault.giant_bytes:
        answer = Answer(body=_padded_page(fault.giant_bytes), length=fault.giant_bytes)
    elif fault.empty_rows:
        answer = Answer(body=b"".join(_EMPTY_PAGE))
    elif fault.body is not None:
        answer = Answer(body=fault.body)
    else:
        answer = error_answer(fault.status or 200, f"twin fault: {fault.name}")
    return answer


def dress(answer: Answer, fault: Fault) -> Answer:
    """Apply what the fault says of status, headers and the body's bytes."""
    answer.status = fault.status or answer.status
    answer.content_type = answer.content_type if fault.content_type is None else fault.content_type
    answer.headers |= fault.headers
    if fault.invalid_gzip:
        answer.headers["Content-Encoding"] = "gzip"
    if fault.truncate_at_byte is not None and isinstance(answer.body, bytes):
        answer.body = answer.body[: fault.truncate_at_byte]
    return answer


def compressed(answer: Answer) -> Answer:
    """Return the answer with its body in gzip."""
    answer.body = gzip.compress(t.cast("bytes", answer.body), compresslevel=1)
    answer.headers["Content-Encoding"] = "gzip"
    return answer


@functools.lru_cache(maxsize=4)
def gzip_bomb(size: int) -> bytes:
    """Return gzip that unpacks to an empty page padded with blanks to `size` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(chunk) for chunk in _padded_page(size)) + packer.flush()


def _padded_page(size: int) -> Iterator[bytes]:
    left = size - sum(map(len, _EMPTY_PAGE))
    yield _EMPTY_PAGE[0]
    while left > 0:
        yield b" " * min(_CHUNK, left)
        left -= _CHUNK
    yield _EMPTY_PAGE[1]
