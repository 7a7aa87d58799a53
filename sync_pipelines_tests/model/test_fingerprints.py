"""A secret that this process never held is hidden where a text repeats it."""

from __future__ import annotations

import os
import stat
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines import secrets
from sync_pipelines.catalog.connectors import add_connector
from sync_pipelines.catalog.fingerprints import learn_secrets
from sync_pipelines.model.fingerprints import FingerprintKey, Recognizer, load_key, spellings

KEY = FingerprintKey(bytes(range(32)))
SECRET = 'canary/7f3a "quoted" 55d0'
printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40)


def recognizer(*values: str) -> Recognizer:
    return Recognizer(
        KEY, [KEY.fingerprint(written) for value in values for written in spellings(value)]
    )


@given(st.text(max_size=60), printable, st.text(max_size=60))
def test_a_secret_is_found_wherever_it_is(before: str, value: str, after: str) -> None:
    assert value not in recognizer(value).redact(before + value + after, "")


@given(st.lists(st.one_of(printable, st.text(max_size=20)), max_size=6), printable)
def test_what_holds_no_secret_stays_as_it_is(parts: list[str], value: str) -> None:
    text = " ".join(parts)
    if not any(written in text for written in spellings(value)):
        assert recognizer(value).redact(text, "***") == text


def test_json_and_urls_repeat_it_in_their_own_spelling() -> None:
    found = recognizer(SECRET)
    for written in spellings(SECRET):
        assert found.redact(f'{{"echo": "{written}"}}', "***") == '{"echo": "***"}'
    assert found.redact("canary/7f3a is not whole", "***") == "canary/7f3a is not whole"


def test_of_two_secrets_that_begin_alike_the_longer_is_hidden_whole() -> None:
    found = recognizer("sk-live-0001", "sk-live-0001-and-more")
    assert (
        found.redact("a sk-live-0001-and-more b sk-live-0001 c sk-live-9", "***")
        == "a *** b *** c sk-live-9"
    )


@pytest.mark.parametrize(
    "text", ["sk-live-" * 40_000, "a" * 320_000, "é\U0001f600\ud800" * 100_000]
)
def test_time_grows_with_the_text_alone(text: str) -> None:
    many = recognizer(
        *(f"sk-live-{number:030}" for number in range(20)),
        *(f"{number:08}-other" for number in range(2000)),
    )
    started = time.process_time()
    assert many.redact(text, "***") == text
    # 20 candidates at every eighth place in the worst text: still below 30 microseconds a character.
    assert (time.process_time() - started) / len(text) < 30e-6


def test_the_key_is_made_once_for_this_user_alone(tmp_path) -> None:
    first = load_key(tmp_path / "home")
    again = load_key(tmp_path / "home")
    assert first is not None and again is not None
    assert first.key_id == again.key_id != KEY.key_id
    mode = os.stat(tmp_path / "home" / "redaction.key").st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["redaction.key"]
    (tmp_path / "home" / "redaction.key").write_bytes(b"short")
    assert load_key(tmp_path / "home") is None


@pytest.fixture
def processes(monkeypatch, tmp_path):
    """Every call makes the redactor of a new process, which knows nothing."""

    def start():
        monkeypatch.setattr(secrets, "_known", set())
        monkeypatch.setattr(secrets, "_others", None)

    start()
    return start


def test_a_process_without_the_secret_hides_what_another_one_had(
    world, processes, tmp_path
) -> None:
    settings = world.settings.model_copy(
        update={"home": tmp_path / "home", "gates_folder": tmp_path / "gates"}
    )
    (tmp_path / "gates" / "erp").mkdir(parents=True)
    (tmp_path / "gates" / "erp" / "items.yaml").write_text("masks: {a: {hash: env:MASK_SALT}}\n")
    add_connector(world.database, "crm", "https://crm.example.com", "env:CRM_KEY")
    world.sql(
        "INSERT INTO bridge.webhooks (name, url, secret) VALUES ('ops', 'env:HOOK_URL', 'env:HOOK_KEY')"
    )
    had = {
        "CRM_KEY": "canary-crm-8f21",
        "HOOK_URL": "https://hooks.example.com/canary-hook",
        "HOOK_KEY": "whsec_canary=",
        "MASK_SALT": "canary-salt-01",
    }
    text = "echo: " + ", ".join(had.values())

    learn_secrets(world.database, settings, had)
    assert secrets.redact_known(text) == "echo: ***, ***, ***, ***", (
        "the values are known before anything was resolved"
    )
    processes()
    learn_secrets(world.database, settings, {})
    assert secrets.redact_known(text) == "echo: ***, ***, ***, ***"
    processes()
    learn_secrets(world.database, settings, {"CRM_KEY": "another-value-77"})
    assert secrets.redact_known(text + " another-value-77") == "echo: ***, ***, ***, *** ***", (
        "the old value may be valid still"
    )
    processes()
    elsewhere = settings.model_copy(update={"home": tmp_path / "other"})
    learn_secrets(world.database, elsewhere, {})
    assert secrets.redact_known(text) == text, (
        "without the key of the home nothing can be recognized, and nothing guessed"
    )


def test_the_catalog_keeps_no_part_of_a_secret(world, processes, tmp_path) -> None:
    settings = world.settings.model_copy(update={"home": tmp_path / "home"})
    add_connector(world.database, "crm", "https://crm.example.com", "env:CRM_KEY")
    learn_secrets(world.database, settings, {"CRM_KEY": "canary-crm-8f21", "TWIN_TOKEN": "short"})
    [(reference, length, head, digest)] = world.sql(
        "SELECT reference, length, head, digest FROM bridge.secret_fingerprints"
    )
    assert (reference, length, len(head), len(digest)) == (
        "env:CRM_KEY",
        len("canary-crm-8f21"),
        8,
        32,
    )
    assert b"canary" not in head + digest
