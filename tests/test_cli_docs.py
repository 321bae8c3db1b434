"""Every console example of docs/cli.md, run in order against our gateway."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests import services

PAGE = (services.ROOT / "docs" / "cli.md").read_text()
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.timeout(300)  # dozens of processes, one after the other
def test_the_examples_of_the_page_are_true(gateway):
    environment = {
        **os.environ,
        "PATH": f"{Path(services.PUSHGATE).parent}:{os.environ['PATH']}",
        "IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS": gateway.url,
    }
    assert len(BLOCKS) >= 8
    for block in BLOCKS:
        exported = ""
        for line, expected in COMMAND.findall(block):
            if line.startswith("export "):
                exported = f"{line}; "
                continue
            done = subprocess.run(
                ["bash", "-c", f"{{ {exported}{line}; }} 2>&1"],
                env=environment, capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
            # Columns are as wide as they have to be, and ages differ.
            pattern = re.sub(r"(\\ )+", " +", re.escape(expected)).replace("…", ".*?")
            assert re.fullmatch(pattern, done.stdout), (line, done.stdout)


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "push",
        "set",
        "delete",
        "list",
        "prune",
        "status",
        "url",
        "backup",
        "check",
        "restore",
        "check-rules",
        "copy",
        "completion",
        "serve",
        "import",
    ],
)
def test_the_page_has_every_command_and_its_options(command):
    assert f"`{command}`" in PAGE


def test_the_page_has_every_option_of_run():
    shown = subprocess.run(
        [services.PUSHGATE, "run", "--help"],
        capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    own = shown.partition("--compression")[2]
    for option in re.findall(r"--[a-z-]+", own):
        assert option == "--help" or f"`{option}" in PAGE
