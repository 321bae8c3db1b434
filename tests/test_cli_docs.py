"""docs/cli.md leaves nothing out; test_docs.py runs its examples."""

import re
import subprocess

import pytest

from tests import pages, services

PAGE = pages.page("cli")


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
