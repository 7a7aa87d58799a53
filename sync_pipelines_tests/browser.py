"""A real browser: Debian's Chromium, driven through playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
EVIL = "evil.example"


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium for which EVIL is a name of this machine; skipped by name where there is none.

    REQUIRE_BROWSER makes a failure of that, as in `.ci/run`.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        message = f"NO BROWSER IS TESTED HERE: none of {', '.join(NAMES)} is installed"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        # Without a sandbox, because containers have none; the pages are the tests' own.
        arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()
