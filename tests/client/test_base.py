"""What a push is, held against both gateways on a real socket."""

import gzip
import logging
import pickle

import cramjam
import httpx2
import pytest
from prometheus_client import CollectorRegistry, Gauge

from pushgate import AsyncPushGateway, ConfigurationError, EncodingError, PushGateway
from tests.client.rogue import answer, raw_answer, rogue
from tests.client.shared import STATUS
from tests.delimited import PROTOBUF
from tests.metrics_proto import decode


@pytest.mark.parametrize(
    ("method", "verb"), [("push", "PUT"), ("push_add", "POST"), ("merge", "PATCH")]
)
def test_a_push_is_one_request(caller, registry, method, verb):
    with rogue(answer(202)) as server:
        gateway = caller.make(server.url, job="j", grouping_key={"l.1": "a b"}, registry=registry)
        result = caller.call(gateway, method)
    [request] = server.seen
    assert (request.method, request.path) == (verb, "/metrics/job/j/U__l_2e_1/a%20b")
    assert request.headers["content-type"] == PROTOBUF
    assert request.headers["content-length"] == str(len(request.body))
    assert "transfer-encoding" not in request.headers
    assert request.headers["user-agent"].startswith("pushgate/")
    assert [family.name for family in decode(request.body)] == ["rows"]
    assert (result.status, result.attempts, result.families, result.samples) == (202, 1, 1, 1)
    assert (result.bytes_sent, result.format) == (len(request.body), "protobuf")
    assert result.url == f"{server.url}/metrics/job/j/U__l_2e_1/a%20b"


def test_delete_sends_no_body(caller, registry):
    with rogue(answer(202)) as server:
        gateway = caller.make(server.url, job="j", registry=registry, compression="gzip")
        assert caller.call(gateway, "delete").status == 202
    [request] = server.seen
    assert (request.method, request.body) == ("DELETE", b"")
    assert "content-encoding" not in request.headers


def test_only_the_given_collectors(caller, registry):
    one, two = (Gauge(name, "", registry=None) for name in ("one", "two"))
    with rogue() as server:
        gateway = caller.make(server.url, job="j", registry=registry)
        caller.call(gateway, "push", one)
        caller.call(gateway, "push", [one, two])
    assert [[f.name for f in decode(r.body)] for r in server.seen] == [["one"], ["one", "two"]]


@pytest.mark.parametrize(
    ("compression", "inflate"),
    [("gzip", gzip.decompress), ("snappy", lambda body: bytes(cramjam.snappy.decompress(body)))],
)
def test_large_bodies_are_compressed(caller, registry, compression, inflate):
    many = Gauge("many", "", ["l"], registry=registry)
    for index in range(100):
        many.labels(str(index)).set(index)
    with rogue() as server:
        gateway = caller.make(server.url, job="j", registry=registry, compression=compression)
        caller.call(gateway, "push")
        caller.call(gateway, "push", names=["rows"])
        plain = gateway.render().body
    large, small = server.seen
    assert large.headers["content-encoding"] == compression
    assert inflate(large.body) == plain
    assert "content-encoding" not in small.headers


@pytest.mark.parametrize(("on_empty", "requests"), [("warn", 1), ("skip", 0)])
def test_an_empty_registry(caller, caplog, on_empty, requests):
    with rogue() as server:
        gateway = caller.make(server.url, registry=CollectorRegistry(), on_empty=on_empty)
        result = caller.call(gateway, "push")
    assert len(server.seen) == requests
    assert result.status == (200 if requests else 0)
    assert ("empties the group" in caplog.text) is bool(requests)


def test_an_empty_post_is_said_to_change_nothing(caller, caplog):
    with rogue() as server:
        gateway = caller.make(server.url, registry=CollectorRegistry())
        caller.call(gateway, "push_add")
    assert "an empty push changes nothing" in caplog.text


def test_an_empty_registry_can_be_an_error(caller):
    gateway = caller.make("h:1", registry=CollectorRegistry(), on_empty="error")
    with pytest.raises(EncodingError, match="nothing to push"):
        caller.call(gateway, "push")


def test_pushing_can_be_switched_off(caller, registry, caplog):
    caplog.set_level(logging.INFO, "pushgate.client")
    gateway = caller.make(
        "no-such-host.invalid", registry=registry, properties={"pushgate.enabled": "false"}
    )
    assert caller.call(gateway, "push").status == 0
    assert caller.call(gateway, "delete").status == 0
    assert caplog.text.count("is not sent: pushgate.enabled is false") == 2


def test_replace_changes_one_option_and_keeps_the_others(caller, registry):
    gateway = caller.make("h:1", job="a", grouping_key={"x": 1}, registry=registry)
    assert gateway.replace(job="b").url == "http://h:1/metrics/job/b/x/1"
    assert gateway.url == "http://h:1/metrics/job/a/x/1"
    assert type(gateway.replace()) is type(gateway)
    for make in (gateway.replace, caller.make):
        with pytest.raises(TypeError, match="no such option: jobb"):
            make(jobb="b")


def test_options_are_copied(caller):
    key, headers = {"a": "1"}, {"X-A": "1"}
    with rogue() as server:
        gateway = caller.make(server.url, job="j", grouping_key=key, headers=headers)
        key["b"], headers["X-B"] = "2", "2"
        caller.call(gateway.replace(), "delete")
    assert server.seen[0].path == "/metrics/job/j/a/1"
    assert "x-b" not in server.seen[0].headers


def test_headers_may_be_functions(caller):
    numbers = iter("12")
    with rogue() as server:
        gateway = caller.make(server.url, headers={"X-Tenant": "t", "X-N": lambda: next(numbers)})
        caller.call(gateway, "delete")
        caller.call(gateway, "delete")
    assert [r.headers["x-n"] for r in server.seen] == ["1", "2"]
    assert server.seen[0].headers["x-tenant"] == "t"


def test_a_header_is_sent_once_whatever_its_case(caller, registry):
    heads = []

    def play(connection, _):
        heads.append(connection.recv(65536).lower())
        connection.sendall(raw_answer(200, b"", {}))

    own = {"user-agent": "me", "content-type": "x", "idempotency-key": "mine"}
    with rogue(play) as server:
        gateway = caller.make(server.url, job="j", registry=registry, headers=own)
        caller.call(gateway, "push_add")
    [head] = heads
    names = [line.partition(b":")[0] for line in head.split(b"\r\n\r\n")[0].split(b"\r\n")]
    assert len(names) == len(set(names))
    assert b"user-agent: me\r\n" in head
    assert b"idempotency-key: mine\r\n" in head
    assert b"content-type: application/vnd.google.protobuf" in head


def test_a_line_break_in_a_header_is_refused(caller):
    gateway = caller.make("h:1", headers={"X-A": "1\r\nX-B: 2"})
    with pytest.raises(ConfigurationError, match="'X-A' contains a line break"):
        caller.call(gateway, "delete")


@pytest.mark.parametrize(("version", "pushes"), [(b"1.11.0", 2), (b"1.5.1", 0), (b"", 2)])
def test_utf8_names_need_a_gateway_that_survives_them(caller, caplog, version, pushes):
    gauge = Gauge("http.size", "", registry=None)
    with rogue(answer(200, STATUS % version), answer(200)) as server:
        gateway = caller.make(server.url, job="j", escaping_scheme="allow-utf-8")
        if pushes:
            caller.call(gateway, "push", gauge)
            caller.call(gateway, "push", gauge)
        else:
            with pytest.raises(ConfigurationError, match=r"use 1\.11\.0"):
                caller.call(gateway, "push", gauge)
    assert [request.method for request in server.seen] == ["GET"] + ["PUT"] * pushes
    assert ("It is unknown" in caplog.text) is (version == b"")


def test_the_wrong_kind_of_transport_is_refused():
    with pytest.raises(ConfigurationError, match="AsyncPushGateway"):
        PushGateway("h:1", transport=httpx2.AsyncHTTPTransport(), properties=False)
    with httpx2.HTTPTransport() as transport:
        with pytest.raises(ConfigurationError, match="for PushGateway"):
            AsyncPushGateway("h:1", transport=transport, properties=False)
        with pytest.raises(ConfigurationError, match="a proxy of its own"):
            PushGateway("h:1", transport=transport, verify=False, properties=False)


@pytest.mark.parametrize("option", ["transport", "http_client"])
def test_what_is_no_transport_and_no_client_is_refused(caller, option):
    with pytest.raises(ConfigurationError, match=f"{option}: expecting an httpx2 .* found object"):
        caller.make("h:1", **{option: object()})


def test_a_pickled_gateway_has_the_same_options(caller):
    gateway = caller.make("u:p@h:1", job="j", grouping_key={"a": "b"}, retry=7, format="text")
    again = pickle.loads(pickle.dumps(gateway))
    assert type(again) is type(gateway)
    assert (again.url, again._retry) == (gateway.url, gateway._retry)
    assert again._credentials.header(renew=False) == "Basic dTpw"


def test_a_gateway_with_a_registry_says_why_it_cannot_be_pickled(caller, registry):
    with pytest.raises(TypeError, match="registry= cannot be pickled"):
        pickle.dumps(caller.make("h:1", registry=registry))
