"""A headless Chromium, the one of the system, and a review server to look at with it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.process import start

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@contextmanager
def browser() -> Iterator[Any]:
    """A browser; `tab` opens a page in it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield opened
        finally:
            opened.close()


class Tab:
    """A page, and everything that it complained about."""

    def __init__(self, browser: Any, **context: Any) -> None:
        settings = {"viewport": {"width": 1280, "height": 800}, **context}
        self.page = browser.new_context(**settings).new_page()
        self.page.set_default_timeout(15_000)
        self.complaints: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, address: str) -> Any:
        self.page.goto(address)
        self.page.wait_for_selector("#filters:not([hidden])", state="attached")
        return self.page

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def wait(self, expression: str) -> None:
        """Until the expression holds in the page.

        Playwright's own wait would have the page evaluate text, which its policy forbids.
        """
        for _ in range(300):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")

    @property
    def cards(self) -> list[str]:
        """Ids of the cards that exist, in their order."""
        return list(self.page.locator(".card h2").all_inner_texts())

    @property
    def viewed(self) -> str:
        return str(self.page.inner_text("#viewer .panel h2"))


@contextmanager
def reviewing(folder: Path, *words: str) -> Iterator[str]:
    """A review server for the outputs of a folder; yields its address, and ends cleanly."""
    process = start("review", "--no-browser", "--port", "0", *words, cwd=folder)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.communicate()
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert out == ""
    assert "Traceback" not in err
    assert "The review has ended" in err
