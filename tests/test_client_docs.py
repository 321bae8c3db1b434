"""The Python examples of docs/client.md run, against the real server."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from pushgate import Gauge, PushGateway, testing
from tests import services
from tests.interop.stored import samples

PAGE = (Path(__file__).parent.parent / "docs/client.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def block(text):
    [found] = [each for each in BLOCKS if text in each]
    return found


def ran(program):
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_first_push_arrives():
    with services.pushgate() as gateway:
        ran(
            block("gateway.example.org").replace(
                "gateway.example.org:9091", f"localhost:{gateway.port}"
            )
        )
        assert samples(gateway, {"job": "nightly_import"}) == {("rows",): 3}


def test_the_histogram_is_pushed_with_both_kinds_of_buckets():
    with services.pushgate() as gateway:
        push = f"from pushgate import PushGateway\nPushGateway({gateway.url!r}, job='h').push()"
        ran(block("file_sizes") + push)
        found = samples(gateway, {"job": "h"})
    assert found["file_sizes_bytes_bucket", "512"] == 0
    assert found["file_sizes_bytes_bucket", "1024"] == 1


def test_the_drop_in_is_imported_as_the_page_says():
    ran(block("pushgate.compat"))


def run_my_job(url):
    registry = CollectorRegistry()
    Gauge("rows", "Rows.", registry=registry).set(3)
    PushGateway(url, job="nightly_import", registry=registry, properties=False).push()


def test_the_block_for_tests_holds():
    exec(block("run_my_job"), {"run_my_job": run_my_job})


def test_the_fixture_for_tests_yields_a_gateway():
    scope = {"pytest": pytest, "gateway": testing.gateway}
    exec(block("def pushed"), scope)
    assert scope["pushed"]
