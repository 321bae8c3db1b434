"""What errors say, and what they advise, for both gateways."""

import ssl

import pytest
import trustme
from prometheus_client import Gauge

from pushgate import (
    PushConnectionError,
    PushRedirectError,
)
from tests.client.rogue import (
    answer,
    rogue,
    statuses,
)
from tests.client.shared import fails, make


@pytest.mark.parametrize("location", ["http://user:pw@elsewhere.invalid/x", "https://localhost/x"])
def test_a_redirect_elsewhere_is_an_error_that_names_it(caller, registry, location):
    with rogue(answer(301, Location=location)) as server:
        failure = fails(caller, make(caller, server.url, registry))
    assert isinstance(failure, PushRedirectError)
    assert len(server.seen) == 1
    assert location.replace("user:pw@", "") in str(failure)
    assert f"use {location.replace('user:pw@', '').removesuffix('/x')} as the" in failure.hint
    assert "pw" not in str(failure)


def test_a_redirect_to_https_says_so(caller, registry):
    with rogue(answer(308, Location="https://gateway.example.org/metrics/job/j")) as server:
        failure = fails(caller, make(caller, server.url, registry))
    assert failure.hint == (
        "the gateway wants https: use https://gateway.example.org as the address"
    )


def test_a_page_instead_of_an_answer_is_a_warning(caller, registry, caplog):
    page = answer(200, b"<html>Sign in</html>", Content_Type="text/html; charset=utf-8")
    with rogue(page) as server:
        gateway = make(caller, server.url, registry)
        assert caller.call(gateway, "push").status == 200
        caller.call(gateway, "push")
    assert caplog.text.count("answered 200 with an HTML page") == 1
    assert "login page" in caplog.text


def test_an_address_without_a_port_says_which_port_a_gateway_has(caller, registry):
    failure = fails(caller, make(caller, "localhost", registry, retry=0, connect_timeout=2))
    assert failure.hint == (
        "the address has no port, so this was port 80; a Pushgateway listens on 9091"
    )


@pytest.mark.parametrize(
    ("path", "hint"), [("metrics", "leave /metrics out of the address"), ("metrics-of-jobs", "")]
)
def test_an_address_that_has_the_path_of_the_metrics_already_is_noticed(
    caller, registry, path, hint
):
    with rogue(answer(404)) as server:
        failure = fails(caller, make(caller, f"{server.url}/{path}", registry))
    assert failure.hint == hint


@pytest.mark.parametrize(
    ("body", "hint", "options"),
    [
        ("pushed metrics must not have timestamps", "timestamps='strip'", {}),
        ("collected metric x is not a HISTOGRAM", "delete that group", {}),
        ("text format parsing error in line 1", "format='text'", {"format": "protobuf"}),
        ("client sent an HTTP request to an HTTPS server", "use https://", {}),
    ],
)
def test_the_hint_says_what_to_do(caller, registry, body, hint, options):
    with rogue(answer(400, body.encode())) as server:
        failure = fails(caller, make(caller, server.url, registry, **options))
    assert hint in failure.hint
    assert hint in str(failure)
    assert body in str(failure)


def test_an_unknown_compression_is_hinted_at(caller, registry):
    many = Gauge("many", "", ["l"], registry=registry)
    for index in range(100):
        many.labels(str(index)).set(index)
    with rogue(answer(400, b"invalid metric name in line 1")) as server:
        gateway = make(caller, server.url, registry, format="text", compression="gzip")
        assert "compression=None" in fails(caller, gateway).hint


def test_delete_says_delete(caller, registry):
    with rogue(*statuses(500)) as server:
        failure = fails(caller, make(caller, server.url, registry, retry=0), method="delete")
    assert str(failure) == (
        f"Failed to delete metrics from the Prometheus Pushgateway on {server.url}: Response code"
        f" from {server.url}/metrics/job/j was 500, response body: no 500"
    )
    assert "content-type" not in server.seen[0].headers


def test_a_long_body_is_cut_in_the_message_only(caller, registry):
    with rogue(answer(400, b"x" * 10_000)) as server:
        failure = fails(caller, make(caller, server.url, registry))
    assert len(str(failure)) < 5000
    assert len(failure.body) == 10_000


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (
            b"<!DOCTYPE html>\n<head><title>502\nBad Gateway</title></head><hr>nginx",
            "an HTML page, 502 Bad Gateway",
        ),
        (b"<html><h1>No</h1></html>", "an HTML page"),
        (b"\x1b[31mno\x00\rway\xff", "\ufffd[31mno\ufffd\ufffdway\ufffd"),
        (b"no\r\nway\r\n", "no\nway"),
        (
            b'{"status":"error","errorType":"bad_data","error":"no such thing"}',
            "no such thing",
        ),
        (b'{"status":"error"}', '{"status":"error"}'),
        (b'{"status":"error",', '{"status":"error",'),
    ],
)
def test_the_message_shows_a_body_so_that_it_can_be_read(caller, registry, body, shown):
    with rogue(answer(400, body)) as server:
        failure = fails(caller, make(caller, server.url, registry))
    assert str(failure).endswith(f", response body: {shown}")
    assert failure.body == body


def test_an_unknown_host_is_named(caller, registry):
    failure = fails(caller, make(caller, "no-such-host.invalid", registry))
    assert isinstance(failure, PushConnectionError)
    assert "unknown host no-such-host.invalid" in str(failure)


def test_the_wrong_certificate_is_final(caller, registry):
    with rogue(tls=server_context()) as server:
        failure = fails(caller, make(caller, server.url, registry))
    assert isinstance(failure, PushConnectionError)
    assert failure.tls
    assert failure.attempts == 1
    assert "the certificate is not trusted: " in str(failure)
    assert failure.hint == "trust its authority with ca_file="


def test_tls_to_a_plain_port_is_explained(caller, registry):
    with rogue(plain_answer) as server:
        url = server.url.replace("http:", "https:")
        failure = fails(caller, make(caller, url, registry))
    assert failure.tls
    assert failure.attempts == 1
    assert "use http://" in failure.hint


def plain_answer(connection, gateway):
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def server_context(host="localhost", authority=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (authority or trustme.CA()).issue_cert(host).configure_cert(context)
    return context
