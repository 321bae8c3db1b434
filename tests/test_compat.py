import inspect
from functools import partial

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import basic_auth_handler, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pushgate import PushAuthError, PushConnectionError, PushRejectedError, compat
from tests.client.rogue import answer, closed_port, rogue


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    Gauge("rows", "Rows", registry=registry).set(3)
    Counter("done", "Done", registry=registry).inc()
    return registry


@pytest.mark.parametrize("name", ["push_to_gateway", "pushadd_to_gateway", "delete_from_gateway"])
def test_signatures_are_the_same(name):
    ours, theirs = (inspect.signature(getattr(m, name)) for m in (compat, prometheus_client))
    assert list(ours.parameters) == list(theirs.parameters)
    for parameter, expected in theirs.parameters.items():
        assert ours.parameters[parameter].default == expected.default


@pytest.mark.parametrize(
    ("name", "method"), [("push_to_gateway", "PUT"), ("pushadd_to_gateway", "POST")]
)
def test_the_same_request_is_sent(registry, name, method):
    with rogue(answer(202)) as server:
        for module in (compat, prometheus_client):
            getattr(module, name)(server.url, "j", registry, grouping_key={"a": "x/y", "b": 2})
    ours, theirs = server.seen
    assert (ours.method, ours.path) == (method, theirs.path)
    assert (
        as_families(ours.body) == as_families(theirs.body) == as_families(generate_latest(registry))
    )


def as_families(body):
    families = text_string_to_metric_families(body.decode())
    return sorted((f.name, f.type, [tuple(s) for s in f.samples]) for f in families)


def test_delete():
    with rogue(answer(202)) as server:
        compat.delete_from_gateway(server.url, job="j", grouping_key={"a": 1})
    assert [(r.method, r.path) for r in server.seen] == [("DELETE", "/metrics/job/j/a/1")]


def test_handlers_of_prometheus_client_work(registry):
    handler = partial(call_with_basic_auth, "me", "secret")
    with rogue(answer(202), answer(401, b"no")) as server:
        compat.push_to_gateway(server.url, "j", registry, handler=handler)
        with pytest.raises(PushAuthError, match="response body: no"):
            compat.push_to_gateway(server.url, "j", registry, handler=handler)
    assert server.seen[0].headers["authorization"] == "Basic bWU6c2VjcmV0"
    assert server.seen[0].method == "PUT"
    assert b"rows 3" in server.seen[0].body


def call_with_basic_auth(user, password, url, method, timeout, headers, data):
    return basic_auth_handler(url, method, timeout, headers, data, user, password)


def test_errors_are_still_os_errors_and_carry_the_reason(registry):
    with (
        rogue(answer(400, b"the reason")) as server,
        pytest.raises(OSError, match="the reason") as caught,
    ):
        compat.push_to_gateway(server.url, "j", registry)
    assert isinstance(caught.value, PushRejectedError)
    with pytest.raises(OSError, match="Connection refused") as caught:
        compat.push_to_gateway(f"localhost:{closed_port()}", "j", registry)
    assert isinstance(caught.value, PushConnectionError)


def test_a_failure_is_not_retried(registry):
    with rogue(answer(503)) as server, pytest.raises(OSError, match="503"):
        compat.push_to_gateway(server.url, "j", registry, timeout=None)
    assert len(server.seen) == 1


def test_the_instance_is_not_a_loopback_address():
    [(name, value)] = compat.instance_ip_grouping_key().items()
    assert name == "instance"
    assert not value.startswith("127.")
