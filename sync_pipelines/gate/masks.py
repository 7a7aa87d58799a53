"""Masks: what of a record is never stored as it came. A mask is applied before anything is stored, quarantine included.

hash: HMAC-SHA256 of the value's canonical text under a secret key, the same for the same value, so that keys
    still match
redact: `***` wherever there was a value
drop: the column is not in the table at all
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import Array

from sync_pipelines.batches.arrays import from_canonical
from sync_pipelines.batches.values import convert
from sync_pipelines.errors import RecordError, SecretMissingError
from sync_pipelines.gate.definition import GateFile, HashMask
from sync_pipelines.gate.document import Document, nearest
from sync_pipelines.model.entity import Column, Entity
from sync_pipelines.model.types import Kind
from sync_pipelines.secrets import resolve_secret

REDACTED = "***"
WITHHELD = b'{"withheld":"The record is not readable as JSON, and its entity has masks."}'
MIN_KEY_CHARACTERS = 16
_TEXT = pa.string()
_REDACTED = pa.scalar(REDACTED, _TEXT)
_NULL = pa.scalar(None, _TEXT)


def check_masks(
    document: Document,
    definition: GateFile,
    entity: Entity,
) -> None:
    """Refuse masks of unknown columns, and keys that would be no keys any more.

    Raises:
        GateDefinitionError: names file, line and column.
    """
    columns = {column.name: column for column in entity.columns}
    for name, mask in definition.masks.items():
        location = ("masks", name)
        if name not in columns:
            hint = nearest(name, columns)
            raise document.fault(f"{entity.path} has no column {name!r}.{hint}", location)
        if columns[name].is_business_key and not isinstance(mask, HashMask):
            done = {"redact": "redacted", "drop": "dropped"}[mask]
            raise document.fault(
                f"{name!r} is a business key: it may be hashed, but not {done}, or rows could not be told apart.",
                location,
            )


@dataclass(frozen=True)
class Masks:
    """The masks of an entity with their keys resolved.

    Attributes:
        entity: as declared.
        keys: HMAC key by hashed column.
        redacted, dropped: names of columns.
    """

    entity: Entity
    keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    redacted: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()

    @cached_property
    def names(self) -> frozenset[str]:
        """Every masked column."""
        return frozenset(self.keys) | self.redacted | self.dropped

    def restricted(self, names: frozenset[str]) -> Masks:
        """Only the masks of some columns."""
        keys = {name: key for name, key in self.keys.items() if name in names}
        return replace(
            self,
            keys=keys,
            redacted=self.redacted & names,
            dropped=self.dropped & names,
        )

    @cached_property
    def stored_entity(self) -> Entity:
        """The entity as its table has it: hashed and redacted columns are texts, dropped ones are not there."""
        columns = []
        for column in self.entity.columns:
            if column.name in self.dropped:
                continue
            is_text = column.name in self.names
            stored = replace(column, data_type="TEXT") if is_text else column
            columns.append(stored)
        return replace(self.entity, columns=tuple(columns))

    def fingerprints(self) -> dict[str, str]:
        """Kind and, for hashes, a fingerprint of the key, by column; what the catalog keeps to notice changes."""
        found: dict[str, str] = {}
        for name, key in self.keys.items():
            digest = hmac.digest(key, b"sync_pipelines", "sha256")
            found[name] = f"hash:{digest.hex()[:12]}"
        found |= dict.fromkeys(self.redacted, "redact")
        found |= dict.fromkeys(self.dropped, "drop")
        return found

    def apply(self, columns: list[Array]) -> list[Array]:
        """The columns of the declared entity as those of the stored one."""
        pairs = zip(self.entity.columns, columns, strict=True)
        return [
            self._masked(column, array)
            for column, array in pairs
            if column.name not in self.dropped
        ]

    def _masked(self, column: Column, array: Array) -> Array:
        if column.name in self.keys:
            return self._hashed(column.name, array)
        if column.name in self.redacted:
            return pc.if_else(pc.is_valid(array), _REDACTED, _NULL)
        return array

    def _hashed(self, name: str, array: Array) -> Array:
        key = self.keys[name]
        texts = array.cast(_TEXT)
        encoded = texts.dictionary_encode()
        digests: list[str | None] = []
        for text in encoded.dictionary.to_pylist():
            digest = None
            if text is not None:
                digest = hmac.digest(key, text.encode(), "sha256").hex()
            digests.append(digest)
        return pa.array(digests, _TEXT).take(encoded.indices)

    def hide_key(self, key: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The canonical texts of a business key with its hashed parts hashed, equal to what the table holds.

        Raises:
            ValueError: the key has more or fewer parts than the entity's business key has columns.
        """
        if key is None:
            return None
        parts = []
        for text, column in zip(key, self.entity.business_keys, strict=True):
            part = text
            if column.name in self.keys:
                clear = from_canonical([text], column.type)
                part = self._hashed(column.name, clear)[0].as_py()
            parts.append(part)
        return tuple(parts)

    def hide_reason(self, column: str | None, reason: str) -> str:
        """A decoder's reason, which quotes the value, without it: also the value of another column may hold what is
        masked.
        """
        declared = self._declared(column)
        if declared is None:
            return reason
        return (
            f"The value cannot be stored as {declared.data_type};"
            " it is not shown, since the entity has masks."
        )

    def _declared(self, name: str | None) -> Column | None:
        """The declared column of a name."""
        for column in self.entity.columns:
            if column.name == name:
                return column
        return None

    def hide_record(self, record: bytes) -> bytes:
        """A record as it may be kept: every member with the name of a masked column is masked, at any depth."""
        try:
            whole = json.loads(
                record,
                object_pairs_hook=_Pairs,
                parse_float=_Number,
                parse_int=_Number,
            )
            if not _has_data(whole):
                return WITHHELD
            text = _dumped(self._hide(whole))
        except (ValueError, RecursionError):
            return WITHHELD
        return _encoded(text)

    def _hide(self, value: Any) -> Any:
        if isinstance(value, _Pairs):
            pairs = _Pairs()
            for name, inner in value:
                is_masked = name in self.names
                shown = self._hidden(name, inner) if is_masked else self._hide(inner)
                pairs.append((name, shown))
            return pairs
        if isinstance(value, list):
            return [self._hide(inner) for inner in value]
        return value

    def _hidden(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in self.keys:
            text = self._canonical(name, value)
            return _digest(self.keys[name], _encoded(text))
        return REDACTED

    def _canonical(self, name: str, value: Any) -> str:
        """The text that the table's hash is of; of a value that is not of its type, the text as sent."""
        is_text = isinstance(value, str) and not isinstance(value, _Number)
        raw: str = value if is_text else _dumped(value)
        column = self._declared(name)
        if column is None:
            return raw
        try:
            text = convert(_plain(value, raw, column), column.type)
            if text is None:
                return raw
            stored = from_canonical([text], column.type).cast(_TEXT)
        except (RecordError, ArithmeticError, ValueError, pa.ArrowException):
            return raw
        return str(stored[0].as_py())


def open_masks(definition: GateFile, entity: Entity) -> Masks | None:
    """The masks of a gate with their keys; None when it has none.

    Raises:
        SecretMissingError: a key is not set, or shorter than 16 characters.
    """
    if not definition.masks:
        return None
    keys: dict[str, bytes] = {}
    names: dict[str, set[str]] = {"redact": set(), "drop": set()}
    for name, mask in definition.masks.items():
        if not isinstance(mask, HashMask):
            names[mask].add(name)
            continue
        secret = resolve_secret(mask.hash) or ""
        if len(secret) < MIN_KEY_CHARACTERS:
            raise SecretMissingError(
                f"The key {mask.hash} of the mask on {name} is shorter than {MIN_KEY_CHARACTERS} characters.",
                where=dict(entity.where),
            )
        keys[name] = secret.encode()
    return Masks(
        entity,
        keys,
        redacted=frozenset(names["redact"]),
        dropped=frozenset(names["drop"]),
    )


class _Number(str):
    """A number as it was written."""


class _Pairs(list):  # type: ignore[type-arg]
    """Members of an object, repeated names included."""


def _has_data(whole: Any) -> bool:
    """Whether a record has the object with the values of its columns."""
    if not isinstance(whole, _Pairs):
        return False
    objects = {name for name, value in whole if isinstance(value, _Pairs)}
    return "data" in objects


def _plain(value: Any, raw: str, column: Column) -> Any:
    """A value as `batches.values.convert` takes it."""
    if isinstance(value, _Number):
        return Decimal(value)
    return raw if column.type.kind is Kind.JSON else value


def _dumped(value: Any) -> str:
    if isinstance(value, _Pairs):
        members = [f"{json.dumps(name)}:{_dumped(inner)}" for name, inner in value]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        elements = map(_dumped, value)
        return "[" + ",".join(elements) + "]"
    if isinstance(value, _Number):
        return str(value)
    return json.dumps(value)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def _digest(key: bytes, message: bytes) -> str:
    digest = hmac.digest(key, message, "sha256")
    return digest.hex()
