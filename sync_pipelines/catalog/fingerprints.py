"""The redactor learns every secret that the catalog refers to: its value where this process has it, else its
fingerprint.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psycopg

from sync_pipelines.catalog.database import Database
from sync_pipelines.errors import SyncError
from sync_pipelines.model.fingerprints import (
    Fingerprint,
    FingerprintKey,
    Recognizer,
    load_key,
    spellings,
)
from sync_pipelines.secrets import HIDDEN, recognize_others, register_secret
from sync_pipelines.settings import Settings

logger = logging.getLogger(__name__)

_REFERENCE = re.compile(r"\benv:([A-Za-z_][A-Za-z0-9_]*)")
_MAX_GATE_BYTES = 1_000_000


def learn_secrets(
    database: Database,
    settings: Settings,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Teach the redactor the secrets of all references in the catalog and the gates; at the start of a process.

    Values that this process has are known as they are, and leave fingerprints for the processes that do not have them.
    Never raises: what cannot be learned is logged.

    Args:
        database: with the catalog.
        settings: of the process.
        environ: of the process when None.
    """
    environ = os.environ if environ is None else environ
    try:
        with database.connect() as connection:
            found = connection.execute(
                "SELECT to_regclass('secret_fingerprints') AS found"
            ).fetchone()
            if found is None or found["found"] is None:
                return  # a catalog that `migrate` has not seen yet
            names = _names(connection, settings.gates)
            values = {name: environ[name] for name in names if environ.get(name)}
            for value in values.values():
                register_secret(value)
            key = load_key(settings.home)
            if key is None:
                return
            stored = _stored(connection, key)
            _keep(connection, key, values, set(stored))
    except SyncError as error:
        logger.warning("secrets of other processes are not recognized: %s", error.what)
        return
    own: set[bytes] = set()
    for value in values.values():
        own.update(key.fingerprint(spelling).digest for spelling in spellings(value))
    foreign = [fingerprint for digest, fingerprint in stored.items() if digest not in own]
    if not foreign:
        recognize_others(None)
        return
    recognizer = Recognizer(key, foreign)
    recognize_others(lambda text: recognizer.redact(text, HIDDEN))


def _names(connection: psycopg.Connection[Any], gates: Path) -> set[str]:
    """The variables that connectors, webhooks and gates refer to."""
    rows = connection.execute(
        """
        SELECT auth_token AS text FROM connectors WHERE auth_token IS NOT NULL
        UNION ALL SELECT declaration ->> 'auth' FROM connectors WHERE declaration ? 'auth'
        UNION ALL SELECT destination_settings::text FROM connectors
        UNION ALL SELECT concat_ws(' ', nullif(url, ''), secret) FROM webhooks
        """
    ).fetchall()
    names: set[str] = set()
    for text in (*(row["text"] for row in rows), *_gate_texts(gates)):
        names.update(_REFERENCE.findall(text or ""))
    return names


def _gate_texts(gates: Path) -> Iterable[str]:
    for path in sorted(gates.glob("*/*.yaml")):
        try:
            if path.stat().st_size <= _MAX_GATE_BYTES:
                yield path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            logger.warning(
                "the secrets of the gate %s are not known: %s", path.name, error.strerror
            )


def _stored(connection: psycopg.Connection[Any], key: FingerprintKey) -> dict[bytes, Fingerprint]:
    rows = connection.execute(
        "SELECT length, head, digest FROM secret_fingerprints WHERE key_id = %s", [key.key_id]
    )
    stored = {}
    for row in rows:
        head = int.from_bytes(bytes(row["head"]), "big")
        digest = bytes(row["digest"])
        stored[digest] = Fingerprint(row["length"], head, digest)
    return stored


def _keep(
    connection: psycopg.Connection[Any],
    key: FingerprintKey,
    values: Mapping[str, str],
    known: set[bytes],
) -> None:
    for name, value in values.items():
        for one in map(key.fingerprint, sorted(spellings(value))):
            if one.digest not in known:
                connection.execute(
                    """
                    INSERT INTO secret_fingerprints (reference, key_id, length, head, digest) VALUES (%s,
                        %s, %s, %s, %s)
                    ON CONFLICT DO NOTHING
                    """,
                    [
                        f"env:{name}",
                        key.key_id,
                        one.length,
                        one.head.to_bytes(8, "big"),
                        one.digest,
                    ],
                )
