"""What all models of a connector file share: strict keys, and the checked texts."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict

REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWNER = re.compile(r"team:[A-Za-z0-9_.-]+|[^@\s]+@[^@\s]+\.[^@\s]+")
_SENT_BY_US = {
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "accept-encoding",
}


def _reference(value: str) -> str:
    if not REFERENCE.fullmatch(value):
        # Without the value: it may be the secret itself.
        raise ValueError(
            "a secret is given as a reference, env:NAME, naming the environment variable that holds it"
        )
    return value


def _path(value: str) -> str:
    has_one_slash = value.startswith("/") and not value.startswith("//")
    goes_up = ".." in value.split("/")
    if not has_one_slash or goes_up or "?" in value or "#" in value:
        raise ValueError("a path begins with one / and has no query, fragment or ..")
    if any(ord(letter) <= 32 or ord(letter) > 126 for letter in value):
        raise ValueError("a path has only printable ASCII letters and no blanks")
    return value


def _header(value: str) -> str:
    if not _HEADER.fullmatch(value) or value.lower() in _SENT_BY_US:
        raise ValueError("this cannot be the name of a header that carries a key")
    return value


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("this is no address: http(s)://host[:port][/path]")
    return value


def _owner(value: str) -> str:
    if not _OWNER.fullmatch(value):
        raise ValueError("an owner is team:NAME or an e-mail address")
    return value


Owner = Annotated[str, AfterValidator(_owner)]
SecretReference = Annotated[str, AfterValidator(_reference)]
UrlPath = Annotated[str, AfterValidator(_path)]
Address = Annotated[str, AfterValidator(_address)]
HeaderName = Annotated[str, AfterValidator(_header)]
Scalar = str | int | bool


class StrictModel(BaseModel):
    """A part of a connector file; a key that it does not know is an error, which never repeats a value."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )
