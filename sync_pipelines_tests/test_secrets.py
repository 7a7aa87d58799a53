"""Secrets: only references are stored, and a secret is cut out of everything that is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines import secrets
from sync_pipelines.errors import SecretMissingError, SettingsError
from sync_pipelines.secrets import (
    HIDDEN,
    check_reference,
    printable,
    redact,
    redact_beginning,
    register_secret,
    resolve_secret,
)


@pytest.fixture(autouse=True)
def only_own_secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(secrets, "_known", set())
    yield


@pytest.mark.parametrize("reference", ["env:TOKEN", "env:_T1"])
def test_a_reference_is_returned_as_it_is(reference: str) -> None:
    assert check_reference(reference) == reference


@pytest.mark.parametrize(
    "value",
    [
        "hunter2-secret",
        "env:",
        "env:1A",
        "env:A-B",
        "env:A\n",
        "ENV:A",
        " env:A",
        "file:/etc/passwd",
        "",
    ],
)
def test_what_is_no_reference_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_reference(value)
    assert value in ("", "env:") or value not in str(caught.value)


def test_a_secret_is_resolved_and_known_from_then_on() -> None:
    assert resolve_secret("env:TOKEN", {"TOKEN": "abc-123-xyz"}) == "abc-123-xyz"
    assert redact("sent abc-123-xyz!") == f"sent {HIDDEN}!"
    assert resolve_secret(None) is None


@pytest.mark.parametrize("environ", [{}, {"TOKEN": ""}])
def test_a_secret_that_is_not_set_is_named_by_its_variable(environ: dict[str, str]) -> None:
    with pytest.raises(SecretMissingError, match="environment variable TOKEN"):
        resolve_secret("env:TOKEN", environ)


@pytest.mark.parametrize("value", ["two words", "line\nX-Evil: 1", "tab\tbed", "größe", "nul\x00"])
def test_a_secret_that_would_break_a_header_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(SecretMissingError) as caught:
        resolve_secret("env:TOKEN", {"TOKEN": value})
    assert value not in str(caught.value)


def test_the_longest_secret_is_cut_out_first() -> None:
    for secret in ("abcd", "abcdefgh", "efgh"):
        register_secret(secret)
    assert redact("xabcdefghx abcd efgh") == f"x{HIDDEN}x {HIDDEN} {HIDDEN}"


@pytest.mark.parametrize("value", [None, "", "abc"])
def test_nothing_and_very_short_values_are_not_cut_out_of_every_text(value: str | None) -> None:
    register_secret(value)
    assert redact("abc abc") == "abc abc"


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4),
    st.text(max_size=5),
    st.text(max_size=5),
)
def test_a_secret_is_hidden_however_json_or_a_url_writes_it(
    secret: str, before: str, after: str
) -> None:
    secrets._known.clear()
    register_secret(secret)
    for written in (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        quote(secret, safe=""),
        quote(secret),
    ):
        if written not in before + HIDDEN + after:
            assert written not in redact(f"{before} {written} {after}") or written in HIDDEN


@pytest.mark.parametrize(
    ("text", "leak"),
    [
        ("postgresql://user:pa55word@host/db", "pa55word"),
        ("postgresql://user:p@ss:w/rd@host/db", "ss:w"),
        ("cannot connect to HTTPS://u:pa55word@host:443/x?y=1", "pa55word"),
        ("Authorization: Bearer abcd.efgh-ijkl", "abcd.efgh"),
        ("\x1b[31mBearer abcd.efgh", "abcd.efgh"),
        ("Basic dXNlcjpwYXNz", "dXNlcjpw"),
        ("GET /x?api_key=abcd1234&page=2", "abcd1234"),
        ("GET /x?page=2&ACCESS_TOKEN=abcd1234", "abcd1234"),
        ("host=localhost password=abcd1234 dbname=x", "abcd1234"),
        ("password=abcd1234", "abcd1234"),
    ],
)
def test_credentials_nobody_registered_are_hidden_by_their_form(text: str, leak: str) -> None:
    assert leak not in redact(text)
    assert HIDDEN in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://user@host/db",
        "http://host:8080/path",
        "page=2&size=10",
        "user:name",
        "a bearer",
    ],
)
def test_what_holds_no_secret_is_shown_as_it_is(text: str) -> None:
    assert redact(text) == text


@given(st.text(), st.integers(1, 50))
def test_printable_text_has_no_control_characters_and_is_short(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit + 1


def test_printable_hides_before_it_cuts() -> None:
    register_secret("0123456789" * 5)
    assert "012345" not in printable("x" * 10 + "0123456789" * 5, 30)


@pytest.mark.parametrize(
    ("before", "secret", "after"),
    [
        ("the key ", "known-secret-1/2", " was refused"),
        ("https://user:", "pass:w/rd@x", "@host/path"),
        ("see,postgresql://user:", "pa55" * 20, "@host/path and https://a.example"),
        ("Authorization: Bearer ", "abcd.efgh-ijkl", " x"),
        ("Authorization: Bearer" + " " * 30, "abcdefghijkl", " x"),
        ("a token ", "abcdefghijkl9", "\n"),
        ("https://user:", "half" + "known-secret-1/2" + "half", "@host"),
        ("GET /x?api_key=", "abcd1234", "&page=2"),
    ],
)
def test_no_cut_shows_the_beginning_of_a_secret(before: str, secret: str, after: str) -> None:
    register_secret("known-secret-1/2")
    text = before + secret + after
    for length in range(len(text) + 1):
        shown = redact_beginning(text, length)
        assert secret[:3] not in shown.removeprefix(before.strip())
    assert redact_beginning(text, 3) == text[:3]


def test_a_long_text_without_blanks_still_shows_how_it_begins() -> None:
    assert printable("A" * 1_000_000, 60) == "A" * 60 + "…"


def test_a_word_after_token_is_only_hidden_when_it_looks_like_one() -> None:
    assert redact("The token expired yesterday") == "The token expired yesterday"
    assert redact("token canary-in-body") == f"token {HIDDEN}"
    assert redact("Bearer abcdefgh") == f"Bearer {HIDDEN}"


# What these lines cut is no text of a source or of an error, or was redacted before.
_CUTS = {
    "known[:20]",
    "hexdigest()[:16]",
    "hexdigest()[:12]",
    "lower())[:30]",
    "rowversion[:14]",
    "hex()[:12]",
    "text[:12]",
    "strip()[:12]",
    "value[:10]",
    'agenda["entities"][:20]',
    "hex()[:16]",
    "fingerprint[:16]",
    "refusal.why[:100]",
    "join(undeclared)[:2000]",
    "left[:10]",
}


def test_no_text_is_cut_before_it_is_redacted() -> None:
    package = Path(secrets.__file__).parent
    cuts = [
        (path, line)
        for path in package.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"\[:[0-9]{2,}\]", line)
    ]
    assert len(cuts) > 5
    wrong = [
        f"{path.name}: {line.strip()}"
        for path, line in cuts
        if not any(known in line for known in _CUTS)
    ]
    assert not wrong, "use secrets.printable or secrets.redact_beginning"
