"""A headless Chromium, spoken to over its debugging pipe (fds 3 and 4, messages end in NUL)."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests import services

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
ANSWERED_WITHIN = 30.0


class Page:
    """The one tab of a browser. *log* collects its console, its errors and refusals by the CSP."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._pending = b""
        self._last = 0
        self._session: str | None = None
        self.log: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command of the DevTools protocol."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            chunk = os.read(self._answers, 65536)
            assert chunk, "the browser has ended"
            self._pending += chunk
        first, _, self._pending = self._pending.partition(b"\0")
        message = json.loads(first)
        if message.get("method") == "Log.entryAdded":
            self.log.append(message["params"]["entry"]["text"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.log.append(str(message["params"]["exceptionDetails"]))
        return message

    def open(self, url: str, as_seen: str = "") -> None:
        """Goes to *url*, *as_seen* by scripts, and waits until page and script are loaded."""
        self.call("Page.navigate", url=url)
        seen = as_seen or url
        self.wait_for(f"document.readyState === 'complete' && location.href === {seen!r}")

    def press(self, key: str) -> None:
        """Presses and releases a key such as ``ArrowUp`` or ``Enter``."""
        code = {"Enter": 13, "Escape": 27, "ArrowUp": 38, "ArrowDown": 40}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for what in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=what, key=key, windowsVirtualKeyCode=code, **text
            )

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        got = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Waits until *expression* is true, across reloads."""
        deadline = time.monotonic() + ANSWERED_WITHIN
        while True:
            with suppress(AssertionError):  # the page is being replaced
                if self.evaluate(f"Boolean({expression})"):
                    return
            assert time.monotonic() < deadline, f"never true: {expression}\n{self.log}"
            time.sleep(0.05)

    def screenshot(self, file: Path, *, width: int, height: int, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A browser with the empty directory *profile* to itself; skips where there is none."""
    program = services.found("PUSHGATE_TEST_CHROMIUM", "chromium", "Chromium")
    from_us, commands = os.pipe()
    answers, to_us = os.pipe()
    # The browser reads its fd 3 and writes its fd 4.
    script = f'exec "$@" 3<&{from_us} 4>&{to_us}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", script, "chromium", program, *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(from_us, to_us),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(from_us)
    os.close(to_us)
    try:
        yield Page(commands, answers)
    finally:
        os.close(answers)
        os.close(commands)
        process.terminate()
        process.wait(20)
