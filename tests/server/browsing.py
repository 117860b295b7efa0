"""Debian's Chromium, driven by Playwright."""

import contextlib
import os
import shutil

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium():
    """Return Chromium's path; without one the test is skipped, but where it is required, fails."""
    path = shutil.which("chromium")
    if path is None and os.environ.get("SCR_REQUIRE_BROWSER"):
        pytest.fail("Chromium is missing: install Debian's package `chromium`")
    if path is None:
        pytest.skip("needs Debian's Chromium: apt-get install chromium")
    return path


@contextlib.contextmanager
def browser():
    """Run a browser without a window."""
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()
