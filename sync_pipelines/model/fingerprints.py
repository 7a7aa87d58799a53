"""Recognize secrets that this process does not have, by keyed fingerprints, so that an echo of one is hidden as well.

Of every secret that a process of this installation resolved the catalog keeps three figures, and nothing that leads
back to it:

length: in characters
head: a sum of the first eight characters, each multiplied by a secret 64-bit number, modulo 2^64; cheap to slide over
    a text
digest: HMAC-SHA256 of the whole, which decides

Numbers and HMAC are keyed by 32 random bytes in a file of the home (0600), so the catalog alone, or a dump of it,
cannot be used to guess short secrets. A text is compared in one pass, whatever the number of fingerprints: where a head
fits, the digest is asked.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import numpy as np

logger = logging.getLogger(__name__)

KEY_FILE = "redaction.key"
KEY_BYTES = 32
HEAD_CHARACTERS = 8
MAX_CHARACTERS = 4096


@dataclass(frozen=True)
class Fingerprint:
    """One spelling of one secret."""

    length: int
    head: int
    digest: bytes


class FingerprintKey:
    """What fingerprints of an installation are made with."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @cached_property
    def key_id(self) -> str:
        """Names the key without showing it."""
        return self._mac(b"id").hex()[:16]

    @cached_property
    def factors(self) -> np.ndarray:
        """Secret odd numbers, one for each character of a head."""
        numbers = [
            int.from_bytes(self._mac(b"head %d" % place)[:8], "big") | 1
            for place in range(HEAD_CHARACTERS)
        ]
        return np.array(numbers, dtype=np.uint64)

    def heads(self, codes: np.ndarray) -> np.ndarray:
        """The head at every place of a text, given its code points."""
        count = len(codes) - HEAD_CHARACTERS + 1
        if count <= 0:
            return np.zeros(0, dtype=np.uint64)
        heads = np.zeros(count, dtype=np.uint64)
        for place, factor in enumerate(self.factors):
            heads += codes[place : place + count] * factor
        return heads

    def digest(self, text: str) -> bytes:
        """Of a whole secret."""
        return self._mac(b"secret " + text.encode("utf-8", "surrogatepass"))

    def fingerprint(self, text: str) -> Fingerprint:
        """Of a text of at least eight characters."""
        codes = _codes(text[:HEAD_CHARACTERS])
        (head,) = self.heads(codes)
        return Fingerprint(
            len(text),
            int(head),
            self.digest(text),
        )

    def _mac(self, message: bytes) -> bytes:
        return hmac.new(self._key, message, hashlib.sha256).digest()


class Recognizer:
    """Finds secrets in texts by their fingerprints."""

    def __init__(self, key: FingerprintKey, fingerprints: Iterable[Fingerprint]) -> None:
        self._key = key
        self._by_head: dict[int, list[Fingerprint]] = defaultdict(list)
        for one in fingerprints:
            self._by_head[one.head].append(one)
        for many in self._by_head.values():
            many.sort(key=lambda one: -one.length)
        self._heads = np.array(sorted(self._by_head), dtype=np.uint64)

    def redact(self, text: str, hidden: str) -> str:
        """`text` with `hidden` in place of every secret that is recognized.

        Time grows with the length of the text alone.
        """
        if not self._by_head or len(text) < HEAD_CHARACTERS:
            return text
        heads = self._key.heads(_codes(text))
        kept: list[str] = []
        done = 0
        for start in np.flatnonzero(np.isin(heads, self._heads)).tolist():
            if start < done:
                continue
            end = self._end(text, start, int(heads[start]))
            if end is not None:
                kept += [text[done:start], hidden]
                done = end
        return "".join([*kept, text[done:]])

    def _end(
        self,
        text: str,
        start: int,
        head: int,
    ) -> int | None:
        for one in self._by_head[head]:
            end = start + one.length
            if end > len(text):
                continue
            digest = self._key.digest(text[start:end])
            if hmac.compare_digest(digest, one.digest):
                return end
        return None


def spellings(value: str) -> set[str]:
    """How a secret may be written: as it is, in JSON, in a URL; only what is long enough to differ from prose."""
    in_json = json.dumps(value)[1:-1]
    written = {
        value,
        in_json,
        in_json.replace("/", "\\/"),
        quote(value),
        quote(value, safe=""),
    }
    return {one for one in written if HEAD_CHARACTERS <= len(one) <= MAX_CHARACTERS}


def load_key(home: Path) -> FingerprintKey | None:
    """The key of a home, made when there is none; None, with a warning, where it cannot be kept."""
    path = home / KEY_FILE
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            partial = home / f"{KEY_FILE}.{os.getpid()}"
            private = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(private, "wb") as file:
                file.write(os.urandom(KEY_BYTES))
            # Whole or not at all, and the first of several processes wins.
            try:
                os.link(partial, path)
            except FileExistsError:
                logger.debug("another process made %s", path)
            finally:
                partial.unlink()
        key = path.read_bytes()
    except OSError as error:
        logger.warning(
            "secrets of other processes are not recognized: %s cannot be kept (%s)",
            path,
            error.strerror,
        )
        return None
    if len(key) != KEY_BYTES:
        logger.warning(
            "secrets of other processes are not recognized: %s does not hold %d bytes",
            path,
            KEY_BYTES,
        )
        return None
    return FingerprintKey(key)


def _codes(text: str) -> np.ndarray:
    encoded = text.encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(encoded, dtype=np.uint32)
    return codes.astype(np.uint64)
