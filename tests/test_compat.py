"""pushgate.compat in place of prometheus_client's functions.

What prometheus_client's own tests of pushing ask for is here, on the same kind of server:
each request is also made by prometheus_client, and has to be the same.

Where it differs, and why:

* the timeout bounds the whole push, not each socket operation: a slow gateway cannot hold a job;
* a redirect within the server is followed by every method: urllib refuses one of a PUT;
* `.`, `..` and a backslash in a grouping key travel in base64: servers resolve or split the path;
* label names beyond the classic data model are escaped as `U__…`: no gateway reads them raw;
* credentials in the address are sent: prometheus_client takes them for the host's name;
* the instance is not 127.0.0.1.
"""

import gzip
import inspect
import pickle
from functools import partial
from urllib.error import HTTPError, URLError

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import (
    basic_auth_handler,
    default_handler,
    generate_latest,
    passthrough_redirect_handler,
)

from pushgate import (
    ConfigurationError,
    EncodingError,
    PushAuthError,
    PushConnectionError,
    PushgatewayError,
    PushRejectedError,
    PushTimeoutError,
    compat,
)
from tests.client.rogue import answer, closed_port, rogue, stall


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


def requests_of(name, *arguments, trailing="", **options):
    """Make one request with our function and one with theirs; return both as they arrived."""
    with rogue(answer(202)) as server:
        for module in (compat, prometheus_client):
            getattr(module, name)(server.url + trailing, *arguments, **options)
    return server.seen


def what_counts(request):
    kept = ("content-type", "content-encoding", "content-length")
    headers = {name: request.headers.get(name) for name in kept}
    if headers["content-encoding"]:  # compressors differ in their bytes
        del headers["content-length"]
    return request.method, request.path, headers


@pytest.mark.parametrize(
    ("name", "method"), [("push_to_gateway", "PUT"), ("pushadd_to_gateway", "POST")]
)
@pytest.mark.parametrize(
    ("job", "grouping_key"),
    [
        ("my_job", None),
        ("my_job", {"a": 9}),
        ("my_job", {"a": ""}),
        ("my_job", {"a": None, "b": True}),
        ("my_job", {"label": "value with spaces"}),
        ("my_job", {"a": 9, "b": "a/ z", "A": "ä%+?"}),
        ("my/job", {}),
        ("my job", {}),
    ],
)
def test_the_same_push_is_sent(registry, name, method, job, grouping_key):
    ours, theirs = requests_of(name, job, registry, grouping_key=grouping_key)
    assert ours.method == method
    assert what_counts(ours) == what_counts(theirs)
    assert ours.body == theirs.body == generate_latest(registry)


@pytest.mark.parametrize("grouping_key", [None, {"a": 9}])
def test_the_same_delete_is_sent(grouping_key):
    ours, theirs = requests_of("delete_from_gateway", "my_job", grouping_key)
    assert ours.method == "DELETE"
    assert what_counts(ours) == what_counts(theirs)
    assert ours.body == theirs.body == b""


def test_a_trailing_slash_of_the_address_does_not_matter(registry):
    ours, theirs = requests_of("push_to_gateway", "j", registry, trailing="/")
    assert ours.path == theirs.path == "/metrics/job/j"


def test_the_default_registry_is_pushed_when_there_is_none():
    ours, _ = requests_of("pushadd_to_gateway", "j", None)
    assert b"python_info{" in ours.body


@pytest.mark.parametrize("compression", ["gzip", "GZIP"])
def test_small_bodies_are_compressed_when_asked_for(registry, compression):
    ours, theirs = requests_of("push_to_gateway", "j", registry, compression=compression)
    assert what_counts(ours) == what_counts(theirs)
    assert gzip.decompress(ours.body) == gzip.decompress(theirs.body)


def test_an_unknown_compression_is_refused_before_anything_is_sent(registry):
    with rogue() as server:
        for module in (compat, prometheus_client):
            with pytest.raises(ValueError, match="Unsupported compression type: brotli"):
                module.push_to_gateway(server.url, "j", registry, compression="brotli")
    assert server.seen == []


def test_a_handler_is_called_by_keyword_with_what_prometheus_client_passes(registry):
    calls = []

    def handler(*, url, method, timeout, headers, data):
        calls.append((url, method, timeout, list(headers), data))
        headers.append(("X-Test-Header", "foobar"))
        return default_handler(url, method, timeout, headers, data)

    with rogue(answer(202)) as server:
        for module in (compat, prometheus_client):
            module.push_to_gateway(server.url, "a job", registry, {"a": 1}, handler=handler)
            module.delete_from_gateway(server.url, "j", timeout=None, handler=handler)
    assert calls[:2] == calls[2:]
    assert calls[0][2] == 30
    assert {request.headers["x-test-header"] for request in server.seen} == {"foobar"}


def with_basic_auth(user, password, url, method, timeout, headers, data):
    return basic_auth_handler(url, method, timeout, headers, data, user, password)


def test_the_handlers_of_prometheus_client_work(registry):
    handler = partial(with_basic_auth, "me", "secret")
    with rogue(answer(202), answer(401, b"no")) as server:
        compat.push_to_gateway(server.url, "j", registry, handler=handler)
        with pytest.raises(PushAuthError, match="response body: no"):
            compat.push_to_gateway(server.url, "j", registry, handler=handler)
    assert server.seen[0].headers["authorization"] == "Basic bWU6c2VjcmV0"
    assert b"rows 3" in server.seen[0].body


def test_the_redirect_handler_of_prometheus_client_works(registry):
    with rogue(answer(202)) as target, rogue(answer(301, Location=f"{target.url}/x")) as first:
        compat.push_to_gateway(first.url, "j", registry, handler=passthrough_redirect_handler)
    assert [(r.method, r.path) for r in target.seen] == [("PUT", "/x")]
    assert target.seen[0].body == first.seen[0].body


def test_what_a_handler_raises_itself_comes_out_as_it_is(registry):
    def handler(url, method, timeout, headers, data):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        compat.push_to_gateway("h:1", "j", registry, handler=handler)


def test_credentials_in_the_address_are_sent_through_a_handler_too(registry):
    with rogue(answer(202)) as server:
        address = server.url.replace("http://", "http://me:secret@")
        compat.push_to_gateway(address, "j", registry)
        compat.push_to_gateway(address, "j", registry, handler=partial(default_handler))
    assert {r.headers["authorization"] for r in server.seen} == {"Basic bWU6c2VjcmV0"}


@pytest.mark.parametrize(("status", "kind"), [(400, PushRejectedError), (401, PushAuthError)])
def test_a_refusal_is_an_http_error_with_the_reason(registry, status, kind):
    with rogue(answer(status, b"the reason")) as server:
        with pytest.raises(HTTPError, match="the reason") as caught:
            compat.push_to_gateway(server.url, "j", registry)
        with pytest.raises(HTTPError) as theirs:
            prometheus_client.push_to_gateway(server.url, "j", registry)
    error = caught.value
    assert isinstance(error, kind)
    assert error.code == error.status == theirs.value.code == status
    assert (error.read(), error.reason) == (b"the reason", theirs.value.reason)
    theirs.value.close()


def test_a_refused_connection_is_a_url_error_with_its_cause(registry):
    for module in (compat, prometheus_client):
        with pytest.raises(URLError, match="refused") as caught:
            module.push_to_gateway(f"localhost:{closed_port()}", "j", registry)
        assert isinstance(caught.value.reason, ConnectionRefusedError)
        assert not isinstance(caught.value, HTTPError)
        assert isinstance(caught.value, PushConnectionError) is (module is compat)


def test_no_answer_in_time_is_a_timeout_error(registry):
    with rogue(stall) as server, pytest.raises(TimeoutError) as caught:
        compat.push_to_gateway(server.url, "j", registry, timeout=0.1)
    assert isinstance(caught.value, PushTimeoutError)


def odd(*values):
    family = GaugeMetricFamily("g", "", labels=["a"])
    family.add_metric(*values)
    return Collecting(lambda: [family])


class Collecting:
    def __init__(self, collect):
        self.collect = collect


def fail():
    raise RuntimeError("sensor")


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        pytest.param(("h:1", "j", odd(["x"], "five")), EncodingError, id="value"),
        pytest.param(("h:1", "j", odd([1], 5)), EncodingError, id="label"),
        pytest.param(("h:1", "j", odd(["\udc00"], 5)), EncodingError, id="surrogate"),
        pytest.param(("h:1", "j", Collecting(fail)), EncodingError, id="collector"),
        pytest.param(("h:99999", "j", None), ConfigurationError, id="port"),
        pytest.param(("ftp://h", "j", None), ConfigurationError, id="scheme"),
        pytest.param(("", "j", None), ConfigurationError, id="no address"),
        pytest.param(("h:1", "", None), ConfigurationError, id="no job"),
        pytest.param(("h:1", "j", None, {"job": "x"}), ConfigurationError, id="grouping key"),
    ],
)
def test_whatever_is_wrong_is_an_os_error(arguments, kind):
    with pytest.raises(URLError) as caught:
        compat.push_to_gateway(*arguments)
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, kind)
    assert "urlopen" not in str(caught.value)


@pytest.mark.parametrize(("job", "grouping_key"), [("", None), ("j", {"job": "x"}), ("j", {"": 1})])
def test_what_no_gateway_takes_as_a_group_has_the_status_that_a_gateway_answers(job, grouping_key):
    with pytest.raises(HTTPError) as caught:
        compat.push_to_gateway("h:1", job, None, grouping_key)
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.code == 400
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.code, str(again)) == (400, str(caught.value))


def test_no_address_does_not_push_to_the_default_one(registry):
    with pytest.raises(URLError, match="http://None"):
        compat.push_to_gateway(None, "j", registry, timeout=5)


def test_no_job_does_not_mean_the_group_of_the_program(registry):
    with rogue() as server:
        with pytest.raises(HTTPError, match="job: expecting text, found NoneType"):
            compat.push_to_gateway(server.url, None, registry)
        assert server.seen == []


@pytest.mark.parametrize("timeout", [0, -1, "30"])
def test_a_wrong_timeout_is_called_by_the_name_that_the_caller_gave_it(registry, timeout):
    with pytest.raises(URLError, match=r"^timeout: expecting seconds") as caught:
        compat.push_to_gateway("h:1", "j", registry, timeout=timeout)
    assert isinstance(caught.value, ConfigurationError)


def test_a_timestamp_is_refused_by_the_gateway_as_ever(registry):
    family = GaugeMetricFamily("g", "")
    family.add_metric([], 1, timestamp=1.5)
    with (
        rogue(answer(400, b"pushed metrics must not have timestamps")) as server,
        pytest.raises(HTTPError, match="must not have timestamps") as caught,
    ):
        compat.push_to_gateway(server.url, "j", Collecting(lambda: [family]))
    assert caught.value.code == 400


def test_errors_survive_pickling(registry):
    with rogue(answer(400, b"the reason")) as server, pytest.raises(HTTPError) as caught:
        compat.push_to_gateway(server.url, "j", registry)
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, HTTPError)
    assert (str(again), again.code) == (str(caught.value), 400)
    with pytest.raises(PushgatewayError) as caught:
        compat.delete_from_gateway(f"localhost:{closed_port()}", "j")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_failure_is_not_retried(registry):
    with rogue(answer(503)) as server, pytest.raises(OSError, match="503"):
        compat.push_to_gateway(server.url, "j", registry, timeout=None)
    assert len(server.seen) == 1


def test_the_instance_is_not_a_loopback_address():
    [(name, value)] = compat.instance_ip_grouping_key().items()
    assert name == "instance"
    assert not value.startswith("127.")
