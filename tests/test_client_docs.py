"""The Python examples of docs/client.md run, against the real server."""

import pytest
from prometheus_client import CollectorRegistry

from pushgate import Gauge, PushGateway, testing
from tests import pages, services
from tests.interop.stored import samples


def block(text):
    [found] = [each for each in pages.blocks("client", "python") if text in each]
    return found


def test_the_first_push_arrives(tmp_path):
    with services.pushgate() as gateway:
        pages.Reader(tmp_path, gateway.port).python(block("gateway.example.org"))
        assert samples(gateway, {"job": "nightly_import"}) == {("rows",): 3}


def test_the_histogram_is_pushed_with_both_kinds_of_buckets(tmp_path):
    with services.pushgate() as gateway:
        push = "from pushgate import PushGateway\nPushGateway(job='h').push()"
        pages.Reader(tmp_path, gateway.port).python(block("file_sizes") + push)
        found = samples(gateway, {"job": "h"})
    assert found["file_sizes_bytes_bucket", "512"] == 0
    assert found["file_sizes_bytes_bucket", "1024"] == 1


def test_the_drop_in_is_imported_as_the_page_says(tmp_path):
    pages.Reader(tmp_path).python(block("pushgate.compat"))


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
