"""Debian's Chromium, driven by Playwright."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests import services

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage")
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 780}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; skips where there is none. No event loop may run beside it."""
    program = services.found("PUSHGATE_TEST_CHROMIUM", "chromium", "Chromium")
    with sync_playwright() as playwright, launched(playwright, program) as browser:
        yield browser


@contextmanager
def launched(playwright: Playwright, program: str) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
    try:
        yield browser
    finally:
        browser.close()


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads a page: on which screen, in which colors, with scripts or without."""

    name: str
    viewport: dict[str, int]
    is_dark: bool = False
    has_scripts: bool = True

    @contextmanager
    def tab(self, browser: Browser, *, may_log: str = "", **options: Any) -> Iterator[Page]:
        """A tab. Nothing may be refused by the policy or logged, but what has *may_log* in it."""
        context = browser.new_context(
            viewport=self.viewport,
            color_scheme="dark" if self.is_dark else "light",
            java_script_enabled=self.has_scripts,
            **options,
        )
        page = context.new_page()
        page.set_default_timeout(10_000)
        log: list[str] = []
        page.on("console", lambda message: log.append(message.text))
        page.on("pageerror", lambda error: log.append(str(error)))
        try:
            yield page
        finally:
            context.close()
        unexpected = [line for line in log if not may_log or may_log not in line]
        assert not unexpected, unexpected


READERS = (
    Reader("desktop", DESKTOP),
    Reader("desktop-dark", DESKTOP, is_dark=True),
    Reader("phone", PHONE),
    Reader("phone-dark", PHONE, is_dark=True),
    Reader("without scripts", DESKTOP, has_scripts=False),
)
ON_DESKTOP, _, ON_PHONE, IN_THE_DARK, WITHOUT_SCRIPTS = READERS
