"""docs/tutorial.md, followed from top to bottom."""

import os
import re
import subprocess
import time
from pathlib import Path

from tests import services

PAGE = (services.ROOT / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"^```(sh|console)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
FIRES_WITHIN = 30.0


class Shell:
    """The reader's second shell; ports are those of the two servers of this test."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self._folder = folder
        self._ports = ports
        tools = [Path(services.PUSHGATE).parent, Path(services.find_promtool()).parent]
        self._path = ":".join([*map(str, tools), os.environ["PATH"]])

    def run(self, script: str) -> str:
        for port, ours in self._ports.items():
            script = script.replace(f"localhost:{port}", f"127.0.0.1:{ours}")
        done = subprocess.run(
            ["sh", "-ec", script], cwd=self._folder, env={**os.environ, "PATH": self._path},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def follow(self, block: str) -> None:
        """Run each command of *block* until it prints what the page says."""
        for line, expected in COMMAND.findall(block):
            pattern = re.sub(r"(\\ )+", " +", re.escape(expected)).replace("…", ".*?")
            deadline = time.monotonic() + FIRES_WITHIN
            while not re.fullmatch(pattern, shown := self.run(line)):
                assert time.monotonic() < deadline, (line, shown)
                time.sleep(0.2)


def test_the_reader_sees_what_the_tutorial_says(tmp_path):
    kinds = [kind for kind, _ in BLOCKS]
    assert kinds == ["sh", "console", "sh", "sh", "sh", "console"]
    texts = [text for _, text in BLOCKS]
    with services.pushgate() as gateway:
        shell = Shell(tmp_path, {"9091": gateway.port})
        shell.run(texts[0])
        shell.follow(texts[1])
        shell.run(texts[2])
        shell.run(texts[3])
        (tmp_path / "alerts.yml").rename(tmp_path / "rules")
        config = (tmp_path / "prometheus.yml").read_text()
        config = config.replace("alerts.yml", str(tmp_path / "rules"))
        with services.prometheus(config) as prometheus:
            shell = Shell(tmp_path, {"9091": gateway.port, "9090": prometheus.port})
            assert shell.run(texts[4]) == "it failed with 1\n"
            shell.follow(texts[5])
            assert shell.run("pushgate run --address localhost:9091 --job report -- true") == ""
            while "JobFailed" in prometheus.get("/api/v1/alerts"):
                time.sleep(0.2)
