"""What `make dist` makes: the same bytes each time, and all that a server needs."""

import hashlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from pushgate import __version__
from tests import journey, services
from tests.journey import run

UV = Path(sys.executable).with_name("uv")
NAMES = {f"pushgate-{__version__}-py3-none-any.whl", f"pushgate-{__version__}.tar.gz"}
# What git knows, and what is to be added; some of it may have been deleted.
COPY = """
git ls-files -coz --exclude-standard |
  tar --create --null --files-from=- --ignore-failed-read --mtime="$1" |
  tar --extract --directory="$2"
"""


def built(folder: Path, time_of_files: str) -> dict[str, bytes]:
    """The files of dist/, made in a copy of the project whose files are so old."""
    run("sh", "-ec", COPY, "sh", time_of_files, folder, cwd=services.ROOT)
    run(sys.executable, "-m", "hatchling", "build", cwd=folder)
    return {path.name: path.read_bytes() for path in (folder / "dist").iterdir()}


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    return built(tmp_path_factory.mktemp("first"), "now")


def test_the_same_files_make_the_same_bytes(dist, tmp_path):
    again = built(tmp_path, "2001-09-09")
    assert dist.keys() == again.keys() == NAMES
    for name in NAMES:
        assert hashlib.sha256(dist[name]).digest() == hashlib.sha256(again[name]).digest()


@pytest.mark.timeout(600)
def test_a_wheel_alone_serves_and_is_backed_up_and_restored(dist, tmp_path):
    (wheel,) = (name for name in NAMES if name.endswith(".whl"))
    (tmp_path / wheel).write_bytes(dist[wheel])
    run(UV, "venv", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    locked = services.ROOT / "requirements" / "server.txt"
    # pip does the same in a quarter of a minute, and test_container.py has it do so.
    install = (UV, "pip", "install", "--python", python)
    run(*install, "--require-hashes", "--only-binary", ":all:", "-r", locked)
    run(*install, "--no-index", "--no-deps", tmp_path / wheel)
    run(UV, "pip", "check", "--python", python)
    journey.walk(python.parent, tmp_path)


def test_the_lock_pins_what_the_project_asks_for():
    text = (services.ROOT / "requirements" / "server.txt").read_text()
    pinned = re.findall(r"^([\w-]+)==", text, re.MULTILINE)
    project = tomllib.loads((services.ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = (*project["dependencies"], *extras["server"], *extras["postgres"])
    names = {re.match(r"[\w.-]+", one)[0].replace(".", "-") for one in asked}
    assert names <= {*pinned}
