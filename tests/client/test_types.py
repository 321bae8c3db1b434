"""What a type checker tells the users of the client."""

import os
import subprocess
import sys

import pytest

from tests.services import ROOT

# One for each worker of xdist: two that write to one at a time might disturb each other.
CACHE = ROOT / ".mypy_cache" / os.environ.get("PYTEST_XDIST_WORKER", "tests")
OPTIONS = """
from pushgate import AsyncPushGateway, PushGateway
reveal_type(PushGateway('h:1', job='j', deadline=None, retry=3))
reveal_type(AsyncPushGateway(grouping_key={'a': 1}))
PushGateway(jobb='j')
PushGateway(deadline='30')
PushGateway(format='json')
"""
DECORATED = """
import asyncio
from collections.abc import Callable
from pushgate import AsyncPushGateway, PushGateway

@PushGateway().job_run("a")
def plain(x: int) -> str: return str(x)

@PushGateway().job_run("a")
async def coroutine(x: int) -> str: return str(x)

@AsyncPushGateway().job_run("a")
async def awaited(x: int) -> str: return str(x)

@AsyncPushGateway().job_run
async def bare(x: int) -> str: return str(x)

with PushGateway().job_run() as job:
    job.gauge("a", "").set(1)

text: str = plain(1)
for function in (coroutine, awaited, bare):
    reveal_type(asyncio.run(function(1)))
plain("x")
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> list[str]:
    """What mypy says of the lines of both programs, strictly."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "options.py").write_text(OPTIONS)
    (folder / "decorated.py").write_text(DECORATED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={CACHE}",
         "options.py", "decorated.py"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_a_type_checker_knows_every_option(said):
    lines = [line for line in said if line.startswith("options.py") and "defined in" not in line]
    expected = [
        'Revealed type is "pushgate.client.gateway.PushGateway"',
        'Revealed type is "pushgate.client.aio.AsyncPushGateway"',
        'Unexpected keyword argument "jobb"',
        'Argument "deadline" to "PushGateway" has incompatible type "str"',
        'Argument "format" to "PushGateway" has incompatible type',
    ]
    assert len(lines) == len(expected)
    for line, part in zip(lines, expected, strict=True):
        assert part in line


def test_a_decorated_function_keeps_its_type(said):
    revealed, error = (line for line in said if line.startswith("decorated.py"))
    assert revealed == 'decorated.py:23: note: Revealed type is "str"'
    assert 'Argument 1 to "plain" has incompatible type "str"; expected "int"' in error
