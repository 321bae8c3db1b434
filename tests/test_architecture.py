"""The pages about the code name files and functions that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/pushgate"
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
_walk = ARCHITECTURE.partition("## The way of a push")[2].partition("\n## ")[0]
STEPS = re.findall(r"^\d\. `([\w.]+)`", _walk, re.MULTILINE)


def functions():
    """Yield the qualified name of each function of the package."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield name
                case ast.ClassDef(name=name, body=body):
                    yield from (f"{name}.{part.name}" for part in body if hasattr(part, "name"))


def test_the_way_of_a_push_names_at_most_eight_functions_each_once():
    assert 5 <= len(STEPS) <= 8
    assert len(set(STEPS)) == len(STEPS)
    assert set(STEPS) <= set(functions())


def test_the_map_has_every_module_and_folder_of_the_package_and_the_server():
    house = ARCHITECTURE.partition("## Where things are")[2].split("```")[1]
    named = re.findall(r"^ +((?:[a-z]+(?:, |/|(?=  )))+)", house, re.MULTILINE)
    there = {
        path.stem
        for folder in (SOURCE, SOURCE / "server")
        for path in folder.glob("[a-z]*")
        if path.suffix != ".typed"
    }
    assert {*re.findall("[a-z]+", " ".join(named))} == there


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_the_files_that_are_named_exist(page):
    named = set(re.findall(r"`((?:\w+/)+[\w.]*\w)`", (ROOT / page).read_text()))
    missing = [name for name in named if not any((at / name).exists() for at in (ROOT, SOURCE))]
    assert named
    assert missing == []
