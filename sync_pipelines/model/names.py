"""Names that come from outside and become slugs, schemas, tables and columns."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from sync_pipelines.errors import EntityDefinitionError, SettingsError
from sync_pipelines.secrets import printable

MAX_IDENTIFIER_BYTES = 63
BRIDGE_PREFIX = "_bridge_"
SYSTEM_COLUMNS = {"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"}

_CONNECTOR = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
_SLUG = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")


def check_connector_name(name: str) -> str:
    """Return `name` if it can be a connector: it becomes an asset group, a job name and a schema.

    Raises:
        SettingsError: says which characters are allowed.
    """
    if not _CONNECTOR.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot name a connector: use a lower-case letter, then lower-case letters, digits and _, "
            "at most 63 characters.",
            state="Nothing was stored.",
        )
    return name


def check_slug(slug: str) -> str:
    """Return `slug` if it is safe in a URL path and in an asset key.

    Raises:
        EntityDefinitionError: for path tricks, control characters, empty or overlong slugs.
    """
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug) or ".." in slug:
        raise EntityDefinitionError(
            f"The slug {printable(str(slug), 120)!r} is not usable: letters, digits, '_', '-' and '.' only,"
            " starting with a letter or digit, at most 100 characters."
        )
    return slug


def shorten_identifier(name: str, max_bytes: int = MAX_IDENTIFIER_BYTES) -> str:
    """Return `name`, cut to `max_bytes` of UTF-8 with a hash suffix where it is longer.

    PostgreSQL would cut silently, so that two long names could become one.
    """
    raw = name.encode()
    if len(raw) <= max_bytes:
        return name
    suffix = "_" + hashlib.sha256(raw).hexdigest()[:8]
    return raw[: max_bytes - len(suffix)].decode(errors="ignore") + suffix


def check_column_names(names: Iterable[str]) -> None:
    """Refuse column names that cannot be columns of one table.

    Raises:
        EntityDefinitionError: an empty name, a control character, a name of ours (`_bridge_`) or of PostgreSQL
            itself, or two names that are the same to a reader (case, Unicode form, the 63 bytes of an identifier).
    """
    seen: dict[str, str] = {}
    for name in names:
        if (
            not name
            or not name.strip()
            or any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
        ):
            raise EntityDefinitionError(
                f"The column name {name!r} is empty or has control characters."
            )
        if name.lower().startswith(BRIDGE_PREFIX):
            raise EntityDefinitionError(
                f"The column name {name!r} is reserved: {BRIDGE_PREFIX}* columns are ours."
            )
        if name in SYSTEM_COLUMNS:
            raise EntityDefinitionError(f"The column name {name!r} is taken by PostgreSQL itself.")
        folded = unicodedata.normalize("NFC", shorten_identifier(name)).casefold()
        if folded in seen:
            raise EntityDefinitionError(
                f"The columns {seen[folded]!r} and {name!r} are the same name to a database reader; "
                "one of them would be lost."
            )
        seen[folded] = name


def table_name_for(slug: str) -> str:
    """The table of a slug: lower case, `-` and `.` become `_`, at most 63 bytes, no reserved prefix."""
    return shorten_identifier(re.sub(r"[-.]", "_", slug.lower()))


def asset_name_for(slug: str) -> str:
    """The last part of the asset key; Dagster's op names allow only letters, digits and `_`."""
    return re.sub(r"[^A-Za-z0-9_]", "_", slug)
