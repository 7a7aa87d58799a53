"""Secrets live as references (`env:NAME`), are resolved at use, and are cut out of everything that is shown."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from sync_pipelines.dotenv_file import current_value, dotenv_file
from sync_pipelines.errors import SecretMissingError, SettingsError

_HEADER_TEXT = re.compile(r"[!-~]+")
_REFERENCE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
# Every pattern takes time in proportion to the text, whatever the text is: a source chooses it.
_RUN = re.compile(r"\S+")
_URL_USER = re.compile(r"://[^\s/:@]*:")
_AUTHORIZATION = re.compile(
    r"(?i)((?:bearer|basic)\s+(?=\S{4})|token\s+(?=\S{6})(?=[A-Za-z]*[0-9._~+/=-]))[A-Za-z0-9._~+/=-]+"
)
_QUERY_SECRET = re.compile(
    r"(?i)((?:^|[?&\s])(?:api_?key|token|access_token|password|secret|signature|sig)=)[^&\s\"']+"
)
_CUT_CREDENTIAL = re.compile(r"(?i)(?:bearer|basic|token)\s+\S*\Z")
HIDDEN = "***"
# A shorter text is no secret, and would hide letters everywhere.
_LEAST_CHARACTERS = 4
_ROOM_CHARACTERS = 1000
_EXCERPT_BYTES = 100_000

_known: set[str] = set()
_known_lock = threading.Lock()
_others: Callable[[str], str] | None = None


def check_reference(reference: str) -> str:
    """Return `reference` if it is one; a bare secret is refused so that none is ever stored.

    Raises:
        SettingsError: without repeating the value, which may be the secret itself.
    """
    if not _REFERENCE.fullmatch(reference):
        raise SettingsError(
            "A token is given as a reference, env:NAME, naming the environment variable that holds it.",
            state="Nothing was stored.",
            next_command="export MY_TOKEN=… and use --token env:MY_TOKEN",
        )
    return reference


def is_reference(value: object) -> bool:
    """Whether a value is meant as a reference; one that is spelled wrongly is refused where it is resolved."""
    return isinstance(value, str) and value.startswith("env:")


def references_in(value: object) -> list[str]:
    """The references in a value, however deep in lists and objects."""
    if isinstance(value, str):
        return [value] if is_reference(value) else []
    inside: Iterable[object] = ()
    if isinstance(value, Mapping):
        inside = value.values()
    elif isinstance(value, (list, tuple)):
        inside = value
    references: list[str] = []
    for inner in inside:
        references += references_in(inner)
    return references


def resolve_secret(reference: str | None, environ: Mapping[str, str] | None = None) -> str | None:
    """The secret behind a reference; None when no reference is given. The redactor learns the value.

    Raises:
        SecretMissingError: names the variable that is not set.
    """
    if reference is None:
        return None
    name = _REFERENCE.fullmatch(check_reference(reference))[1]  # type: ignore[index]
    value = current_value(name) if environ is None else environ.get(name, "")
    if not value:
        raise SecretMissingError(
            f"The secret {reference} is empty: the environment variable {name} is not set in this process,"
            f" nor is it in {dotenv_file()}.",
            next_command=f"put {name}=… into {dotenv_file()}, which is read again, or export {name}=… and start the"
            " process again",
        )
    if not _HEADER_TEXT.fullmatch(value):
        raise SecretMissingError(
            f"The secret {reference} has blanks, line ends or non-ASCII letters and cannot go into a header."
        )
    register_secret(value)
    return value


def register_secret(value: str | None) -> None:
    """Teach the redactor a value that must never be shown, also as JSON or a URL would write it."""
    if not value or len(value) < _LEAST_CHARACTERS:
        return
    in_json = json.dumps(value)[1:-1]
    spellings = {
        value,
        in_json,
        in_json.replace("/", "\\/"),
        quote(value),
        quote(value, safe=""),
    }
    with _known_lock:
        _known.update(spellings)


def recognize_others(redactor: Callable[[str], str] | None) -> None:
    """Hide what `redactor` hides, too: secrets of other processes (`catalog.fingerprints`); None = none are known."""
    global _others
    _others = redactor


def is_known_secret(value: str) -> bool:
    """`value` as a whole is a secret that the redactor knows."""
    with _known_lock:
        return value in _known


def redact_known(text: str) -> str:
    """`text` without any known secret, longest first; prose such as "basic data" stays."""
    with _known_lock:
        known = sorted(_known, key=len, reverse=True)
    for value in known:
        text = text.replace(value, HIDDEN)
    others = _others
    return text if others is None else others(text)


def redact(text: str) -> str:
    """`text` without any known secret, URL password, bearer token or secret query parameter; in linear time."""
    return _redact_forms(redact_known(text))


def redact_beginning(text: str, length: int) -> str:
    """The first `length` characters of `text`, redacted, in time and memory that do not depend on the rest.

    What a cut would halve is hidden as a whole: a known secret, a password in a URL, a token after its scheme.
    """
    if len(text) <= length:
        return redact(text)
    end = _end_before_secret(text, length)
    without_known = redact_known(text[:end])
    head = _hide_cut_form(_redact_forms(without_known))
    if end == length or head.endswith(HIDDEN):
        return head
    return head + HIDDEN


def _end_before_secret(text: str, length: int) -> int:
    """`length`, or where the known secret begins that a cut at `length` would halve."""
    end = length
    moved = True
    with _known_lock:
        known = list(_known)
    while moved:
        moved = False
        for value in known:
            inside = len(value) - 1
            found = text.find(value, max(0, end - inside), end + inside)
            if found >= 0:
                end = found
                moved = True
    return end


def _hide_cut_form(head: str) -> str:
    """A beginning whose last word may go on where it was cut: without what may be half a credential."""
    last_blank = max(map(head.rfind, " \t\n\r"))
    start = last_blank + 1
    user = _URL_USER.search(head, start)
    if user is not None:
        shown = head[: user.end()]
        return shown + HIDDEN
    words_before = head[:start].rstrip()
    scheme = len(words_before) - len("bearer")
    cut = _CUT_CREDENTIAL.search(head, max(0, scheme))
    if cut is None:
        return head
    shown = head[: cut.start()]
    return shown + HIDDEN


def _redact_forms(text: str) -> str:
    if "://" in text:
        text = _RUN.sub(_without_url_password, text)
    text = _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)
    return _QUERY_SECRET.sub(rf"\1{HIDDEN}", text)


def _without_url_password(run: re.Match[str]) -> str:
    """A word without the password of a URL in it, which ends at the last @ since it may hold one itself."""
    word = run[0]
    end = word.rfind("@")
    if end < 0:
        return word
    user = _URL_USER.search(word, 0, end)
    if user is None or user.end() == end:
        return word
    return word[: user.end()] + HIDDEN + word[end:]


def redact_data(value: Any, redactor: Callable[[str], str] = redact) -> Any:
    """JSON-ready data with every text in it redacted by `redactor`, and without what PostgreSQL's text cannot hold."""
    if isinstance(value, dict):
        redacted = {}
        for key, inner in value.items():
            redacted_key = redact_data(key, redactor)
            redacted[redacted_key] = redact_data(inner, redactor)
        return redacted
    if isinstance(value, list | tuple):
        return [redact_data(inner, redactor) for inner in value]
    if isinstance(value, str):
        shown = redactor(value).encode("utf-8", "backslashreplace")
        return shown.decode().replace("\x00", "\\0")
    return value


def escape_controls(text: str) -> str:
    """`text` without anything that acts on a terminal or a reader: control, format and line-ending characters as
    `\\x1b`.
    """
    if text.isprintable():
        return text
    letters = []
    for letter in text:
        if not letter.isprintable():
            letter = letter.encode("unicode_escape").decode()
        letters.append(letter)
    return "".join(letters)


def printable(text: str, limit: int = 200) -> str:
    """Redacted text for a log or message: control characters and line ends escaped, at most `limit` characters.

    Of a longer text only the beginning is looked at.
    """
    looked_at = 4 * limit + _ROOM_CHARACTERS
    shown = redact_beginning(text, looked_at)
    cleaned = escape_controls(shown)
    if len(cleaned) <= limit and len(text) <= looked_at:
        return cleaned
    return cleaned[:limit] + "…"


def excerpt_of(body: bytes) -> str:
    """The first characters of an answer for a message, as `printable` shows them."""
    # Much more than is shown: half a secret is none that the redactor knows.
    beginning = body[:_EXCERPT_BYTES]
    text = beginning.decode("utf-8", errors="backslashreplace")
    return printable(text) or "(empty)"
