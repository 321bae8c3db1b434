"""Debian's Chromium, driven by Playwright."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from playwright.sync_api import Browser, Page, Playwright, ViewportSize, expect, sync_playwright

from tests import services

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage")
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 780}
WITHIN = 20_000  # milliseconds, for whatever has to happen
expect.set_options(timeout=WITHIN)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; skips where there is none. No event loop may run beside it."""
    # The shell has no window to draw, and needs two thirds of the CPU time.
    shell = "chromium-headless-shell"
    program = services.found("PUSHGATE_TEST_CHROMIUM", shell, "Chromium", "chromium")
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
    """Somebody who reads a page: the screen, its colors, and whether scripts run.

    In the dark nothing but colors differs, as a test of the style sheet says.
    """

    name: str
    viewport: ViewportSize
    is_dark: bool = False
    has_scripts: bool = True

    @property
    def in_the_dark(self) -> "Reader":
        return replace(self, name=f"{self.name} in the dark", is_dark=True)

    def looks_at(self, page: Page) -> None:
        page.set_viewport_size(self.viewport)
        page.emulate_media(color_scheme="dark" if self.is_dark else "light")


class Tab:
    """A tab. To open one costs as much as to load five pages, so tests may share it."""

    def __init__(self, browser: Browser, *, has_scripts: bool = True) -> None:
        self._context = browser.new_context(
            java_script_enabled=has_scripts, permissions=["clipboard-read", "clipboard-write"]
        )
        self._page = self._context.new_page()
        self._page.set_default_timeout(WITHIN)
        self._log: list[str] = []
        self._page.on("console", lambda message: self._log.append(message.text))
        self._page.on("pageerror", lambda error: self._log.append(str(error)))

    @contextmanager
    def read_by(self, reader: Reader, *, may_log: str = "") -> Iterator[Page]:
        """The page. Nothing may be logged, as by the policy, but what has *may_log* in it."""
        reader.looks_at(self._page)
        self._log.clear()
        yield self._page
        unexpected = [line for line in self._log if not may_log or may_log not in line]
        assert not unexpected, unexpected

    def forget(self) -> None:
        """Leaves nothing of what the tab remembers to the next who reads in it."""
        self._page.evaluate("sessionStorage.clear()")

    def close(self) -> None:
        self._context.close()


@contextmanager
def tab(browser: Browser, reader: Reader, *, may_log: str = "") -> Iterator[Page]:
    """A tab of *reader* alone."""
    with (
        closing(Tab(browser, has_scripts=reader.has_scripts)) as opened,
        opened.read_by(reader, may_log=may_log) as page,
    ):
        yield page


WITH_SCRIPTS = (Reader("desktop", DESKTOP), Reader("phone", PHONE))
READERS = (*WITH_SCRIPTS, Reader("without scripts", DESKTOP, has_scripts=False))
