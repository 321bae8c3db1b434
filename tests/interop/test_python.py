"""prometheus_client's gateway functions push to our server."""

import sys
import urllib.error

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.exposition import (
    basic_auth_handler,
    delete_from_gateway,
    passthrough_redirect_handler,
    push_to_gateway,
    pushadd_to_gateway,
)

from tests import services
from tests.exchange import ask
from tests.interop.stored import ODD_VALUE, groups, run, samples, succeeded

PUSHED = {
    ("py_rows_total", ODD_VALUE): 42,
    ("py_gr__e",): 1.5,
    ("py_seconds_bucket", "1"): 1,
    ("py_seconds_bucket", "10"): 2,
    ("py_seconds_bucket", "+Inf"): 3,
    ("py_seconds_count",): 3,
    ("py_seconds_sum",): 22.5,
    ("py_sizes_count",): 1,
    ("py_sizes_sum",): 7,
}


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(prometheus_client.metrics, "_use_created", False)
    registry = CollectorRegistry()
    Counter("py_rows", "Rows.", ["table"], registry=registry).labels(ODD_VALUE).inc(42)
    Gauge("py.größe", "This client escapes the name.", registry=registry).set(1.5)
    seconds = Histogram("py_seconds", "Seconds.", buckets=[1, 10], registry=registry)
    for value in (0.5, 2, 20):
        seconds.observe(value)
    Summary("py_sizes", "Sizes.", registry=registry).observe(7)
    return registry


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_all_metrics_of_a_push_arrive(gateway, registry, compression):
    job = f"with {compression}"

    push_to_gateway(gateway.url, job, registry, compression=compression)

    assert samples(gateway, {"job": job}) == PUSHED


def test_a_push_in_snappy_arrives(gateway):
    """In a process of its own, because prometheus_client looks for the codec when imported."""
    program = """
import sys
from prometheus_client import CollectorRegistry, Gauge, push_to_gateway
registry = CollectorRegistry()
Gauge("py_framed", "Many of them.", registry=registry).set(7)
push_to_gateway(sys.argv[1], "snappy", registry, compression="snappy")
"""
    path = str(services.built("python"))

    assert succeeded(run([sys.executable, "-c", program, gateway.url], PYTHONPATH=path))
    assert samples(gateway, {"job": "snappy"}) == {("py_framed",): 7}


def test_a_grouping_key_may_hold_slashes_blanks_empty_values_and_any_letters(gateway, registry):
    key = {"path": "/var/log dir/ü", "blank": "a b", "empty": "", "other": "ü+%", "number": 3}

    push_to_gateway(gateway.url, "a/b c", registry, key)

    assert {"job": "a/b c", **key, "number": "3"} in groups(gateway)


def test_push_add_leaves_the_other_families_and_push_does_not(gateway, registry):
    assert ask(gateway.port, "PUT", "/metrics/job/both", b"other 1\n").status == 200

    pushadd_to_gateway(gateway.url, "both", registry)
    assert samples(gateway, {"job": "both"}) == {**PUSHED, ("other",): 1}
    push_to_gateway(gateway.url, "both", registry)
    assert samples(gateway, {"job": "both"}) == PUSHED


def test_delete_takes_the_group_away(gateway, registry):
    key = {"path": "a/b", "blank": "a b"}
    push_to_gateway(gateway.url, "gone", registry, key)
    assert {"job": "gone", **key} in groups(gateway)

    delete_from_gateway(gateway.url, "gone", key)

    assert {"job": "gone", **key} not in groups(gateway)


def test_its_other_handlers_work(gateway, registry):
    def with_credentials(**request):
        return basic_auth_handler(**request, username="user", password="not asked for")

    push_to_gateway(gateway.url, "handler", registry, handler=with_credentials)
    push_to_gateway(gateway.url, "handler", registry, handler=passthrough_redirect_handler)

    assert samples(gateway, {"job": "handler"}) == PUSHED


def test_a_refusal_is_an_error(registry):
    with services.pushgate() as gateway:
        old = b"# TYPE py_seconds gauge\npy_seconds 1\n"
        assert ask(gateway.port, "PUT", "/metrics/job/old", old).status == 200
        with pytest.raises(urllib.error.HTTPError, match="400") as error:
            push_to_gateway(gateway.url, "refused", registry)
    with error.value as answer:
        assert answer.status == 400
        assert b"py" in answer.read()
