"""The examples of the documentation: found in a page, and run as a reader would run them."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests import services

_BLOCK = re.compile(
    r"^ *```(?P<language>\w+)\n(?P<text>.*?)^ *```$"
    r"(?:\n\n```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
# Where else the gateway of a page may be.
_ADDRESSES = (
    ("http://", "https://gateway.example.org"),
    ("", "gateway.example.org:9091"),
    ("", "gateway:9091"),
)


class Example(NamedTuple):
    """A block of a page; *output* is the block behind it that shows what it prints."""

    language: str
    text: str
    output: str | None


def page(name: str) -> str:
    return (services.ROOT / "docs" / f"{name}.md").read_text()


def examples(name: str) -> Iterator[Example]:
    for block in _BLOCK.finditer(page(name)):
        if block["language"] != "text":
            yield Example(block["language"], block["text"], block["output"])


def blocks(name: str, language: str) -> list[str]:
    return [example.text for example in examples(name) if example.language == language]


def commands(console: str) -> list[tuple[str, str]]:
    """Each command of a console, and what it prints there."""
    return _COMMAND.findall(console)


def shows(shown: str, expected: str) -> bool:
    """Whether a page that says *expected* may print *shown*: an ellipsis stands for anything."""
    pattern = re.escape(expected).replace("…\n", "…").replace("…", ".*?")
    return re.fullmatch(pattern, shown, re.DOTALL) is not None


def columns(text: str) -> str:
    """Return *text* without the widths of its columns: they are as wide as they have to be."""
    return re.sub(" +", " ", text)


class Reader:
    """Somebody who follows a page, in a folder of their own, with its tools in the PATH."""

    def __init__(self, folder: Path, port: int = 9091, *, prometheus: int = 9090) -> None:
        """Meet the gateway of the pages, localhost:9091, at *port*, and their Prometheus."""
        self.folder = folder
        self._port, self._prometheus = port, prometheus
        (folder / ".curlrc").write_text("silent\nshow-error\nmax-time = 20\n")
        tools = [services.PUSHGATE, services.find_curl(), services.find_promtool()]
        path = [str(folder), *(str(Path(tool).parent) for tool in tools), os.environ["PATH"]]
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "PATH": ":".join(path),
            "IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS": f"127.0.0.1:{port}",
        }

    def program(self, name: str, script: str) -> None:
        """Put a *script* into the PATH, in the place of a program that is not here."""
        (self.folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.folder / name).chmod(0o755)

    def run(self, *command: str, text: str = "") -> str:
        """Run *command* with *text* as its input; return what it prints."""
        done = subprocess.run(
            command, input=self.here(text), cwd=self.folder, env=self._environment,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        said = done.returncode, done.stderr
        assert said == (0, ""), (text or command, done.stdout, *said)
        return done.stdout

    def script(self, text: str, expected: str | None = None, *, shell: str = "sh") -> None:
        shown = self.run(shell, "-e", text=text)
        assert expected is None or shows(shown, expected), (text, shown)

    def python(self, text: str) -> None:
        self.run(sys.executable, "-", text=text)

    def console(self, text: str, *, within: float = 0) -> None:
        """Run each command until it prints what the page says, for *within* seconds at most."""
        exported = ""
        for line, expected in commands(self.here(text)):
            if line.startswith("export "):
                exported = f"{line}; "
                continue
            deadline = time.monotonic() + within
            while not shows(columns(shown := self._typed(exported + line)), columns(expected)):
                assert time.monotonic() < deadline, (line, shown)
                time.sleep(0.2)

    def _typed(self, line: str) -> str:
        """Return what a terminal shows after *line*, whatever its status."""
        done = subprocess.run(
            ["bash", "-c", f"{{ {line}; }} 2>&1"], cwd=self.folder, env=self._environment,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout

    def here(self, text: str) -> str:
        """Return *text* with the addresses of the page as those of this test."""
        for port, here in ((9091, self._port), (9090, self._prometheus)):
            text = text.replace(f"localhost:{port}", f"127.0.0.1:{here}")
        for scheme, address in _ADDRESSES:
            text = text.replace(address, f"{scheme}127.0.0.1:{self._port}")
        return text
