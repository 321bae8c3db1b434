"""Every example of docs/http-api.md runs, one after the other, and prints what the page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import services

PAGE = (services.ROOT / "docs" / "http-api.md").read_text()
EXAMPLES = re.findall(
    r"^```sh\n(?P<commands>.*?)^```\n\n^```text\n(?P<output>.*?)^```",
    PAGE,
    re.DOTALL | re.MULTILINE,
)


def test_the_examples_print_what_the_page_shows(tmp_path):
    (tmp_path / ".curlrc").write_text("silent\nshow-error\nmax-time = 20\n")
    folders = [str(Path(program).parent) for program in (services.find_curl(), sys.executable)]
    path = ":".join([*folders, os.environ["PATH"]])
    with services.pushgate("--web.enable-admin-api", "--web.enable-lifecycle") as gateway:
        for commands, output in EXAMPLES:
            done = subprocess.run(
                ["sh", "-e"],
                input=commands.replace("localhost:9091", f"127.0.0.1:{gateway.port}"),
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                cwd=tmp_path,
                env={**os.environ, "HOME": str(tmp_path), "PATH": path},
            )
            assert (done.returncode, done.stderr) == (0, ""), commands
            assert re.fullmatch(pattern(output), done.stdout, re.DOTALL), (commands, done.stdout)


def pattern(output: str) -> str:
    """Matches *output*, in which an ellipsis stands for anything."""
    return re.escape(output).replace("…\n", "…").replace("…", ".*?")


def test_every_example_is_followed_by_what_it_prints():
    assert len(EXAMPLES) == PAGE.count("```sh\n") > 0
