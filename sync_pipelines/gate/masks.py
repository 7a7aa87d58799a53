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


def check_masks(document: Document, definition: GateFile, entity: Entity) -> None:
    """Refuse masks of unknown columns, and keys that would be no keys any more.

    Raises:
        GateDefinitionError: names file, line and column.
    """
    columns = {column.name: column for column in entity.columns}
    for name, mask in definition.masks.items():
        if name not in columns:
            raise document.fault(
                f"{entity.path} has no column {name!r}.{nearest(name, columns)}", ("masks", name)
            )
        if columns[name].is_business_key and not isinstance(mask, HashMask):
            done = {"redact": "redacted", "drop": "dropped"}[str(mask)]
            raise document.fault(
                f"{name!r} is a business key: it may be hashed, but not {done}, or rows could not be told apart.",
                ("masks", name),
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
        return Masks(self.entity, keys, self.redacted & names, self.dropped & names)

    @cached_property
    def stored_entity(self) -> Entity:
        """The entity as its table has it: hashed and redacted columns are texts, dropped ones are not there."""
        return replace(
            self.entity,
            columns=tuple(
                self._stored(column)
                for column in self.entity.columns
                if column.name not in self.dropped
            ),
        )

    def _stored(self, column: Column) -> Column:
        return replace(column, data_type="TEXT") if column.name in self.names else column

    def fingerprints(self) -> dict[str, str]:
        """Kind and, for hashes, a fingerprint of the key, by column; what the catalog keeps to notice changes."""
        hashed = {
            name: f"hash:{hmac.digest(key, b'sync_pipelines', 'sha256').hex()[:12]}"
            for name, key in self.keys.items()
        }
        return {
            **hashed,
            **dict.fromkeys(self.redacted, "redact"),
            **dict.fromkeys(self.dropped, "drop"),
        }

    def apply(self, columns: list[pa.Array]) -> list[pa.Array]:
        """The columns of the declared entity as those of the stored one."""
        return [
            self._masked(column, array)
            for column, array in zip(self.entity.columns, columns, strict=True)
            if column.name not in self.dropped
        ]

    def _masked(self, column: Column, array: pa.Array) -> pa.Array:
        if column.name in self.keys:
            return self._hashed(column.name, array)
        if column.name in self.redacted:
            return pc.if_else(
                pc.is_valid(array), pa.scalar(REDACTED, pa.string()), pa.scalar(None, pa.string())
            )
        return array

    def _hashed(self, name: str, array: pa.Array) -> pa.Array:
        key = self.keys[name]
        texts = pc.cast(array, pa.string()).dictionary_encode()
        digests = [
            None if text is None else hmac.digest(key, text.encode(), "sha256").hex()
            for text in texts.dictionary.to_pylist()
        ]
        return pc.take(pa.array(digests, pa.string()), texts.indices)

    def hide_key(self, key: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The canonical texts of a business key with its hashed parts hashed, equal to what the table holds."""
        if key is None:
            return None
        return tuple(
            self._hashed(column.name, from_canonical([text], column.type))[0].as_py()
            if column.name in self.keys
            else text
            for text, column in zip(key, self.entity.business_keys, strict=True)
        )

    def hide_reason(self, column: str | None, reason: str) -> str:
        """A decoder's reason, which quotes the value, without it: also the value of another column may hold what is
        masked.
        """
        declared = next((one.data_type for one in self.entity.columns if one.name == column), None)
        return (
            reason
            if declared is None
            else f"The value cannot be stored as {declared}; it is not shown, since the entity has masks."
        )

    def hide_record(self, record: bytes) -> bytes:
        """A record as it may be kept: every member with the name of a masked column is masked, at any depth."""
        try:
            whole = json.loads(
                record, object_pairs_hook=_Pairs, parse_float=_Number, parse_int=_Number
            )
        except (ValueError, RecursionError):
            return WITHHELD
        if not isinstance(whole, _Pairs) or not any(
            name == "data" and isinstance(value, _Pairs) for name, value in whole
        ):
            return WITHHELD
        try:
            return _dumped(self._hide(whole)).encode("utf-8", errors="surrogatepass")
        except RecursionError:
            return WITHHELD

    def _hide(self, value: Any) -> Any:
        if isinstance(value, _Pairs):
            return _Pairs(
                (name, self._hidden(name, inner) if name in self.names else self._hide(inner))
                for name, inner in value
            )
        return [self._hide(inner) for inner in value] if isinstance(value, list) else value

    def _hidden(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in self.keys:
            text = self._canonical(name, value)
            return hmac.digest(
                self.keys[name], text.encode("utf-8", errors="surrogatepass"), "sha256"
            ).hex()
        return REDACTED

    def _canonical(self, name: str, value: Any) -> str:
        """The text that the table's hash is of; of a value that is not of its type, the text as sent."""
        column = next((one for one in self.entity.columns if one.name == name), None)
        raw = value if isinstance(value, str) and not isinstance(value, _Number) else _dumped(value)
        try:
            plain = (
                Decimal(value)
                if isinstance(value, _Number)
                else raw
                if column and column.type.kind is Kind.JSON
                else value
            )
            text = None if column is None else convert(plain, column.type)
            return (
                raw
                if column is None or text is None
                else str(pc.cast(from_canonical([text], column.type), pa.string())[0].as_py())
            )
        except (RecordError, ArithmeticError, ValueError, pa.ArrowException):
            return raw


def open_masks(definition: GateFile, entity: Entity) -> Masks | None:
    """The masks of a gate with their keys; None when it has none.

    Raises:
        SecretMissingError: a key is not set, or shorter than 16 characters.
    """
    if not definition.masks:
        return None
    keys: dict[str, bytes] = {}
    for name, mask in definition.masks.items():
        if isinstance(mask, HashMask):
            secret = resolve_secret(mask.hash) or ""
            if len(secret) < MIN_KEY_CHARACTERS:
                raise SecretMissingError(
                    f"The key {mask.hash} of the mask on {name} is shorter than {MIN_KEY_CHARACTERS} characters.",
                    where=dict(entity.where),
                )
            keys[name] = secret.encode()
    redacted, dropped = (
        frozenset(name for name, mask in definition.masks.items() if mask == kind)
        for kind in ("redact", "drop")
    )
    return Masks(entity, keys, redacted, dropped)


class _Number(str):
    """A number as it was written."""


class _Pairs(list):  # type: ignore[type-arg]
    """Members of an object, repeated names included."""


def _dumped(value: Any) -> str:
    if isinstance(value, _Pairs):
        return "{" + ",".join(f"{json.dumps(name)}:{_dumped(inner)}" for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_dumped, value)) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value)
