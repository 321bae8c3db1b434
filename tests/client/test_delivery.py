"""The retry matrix, on real sockets, for both gateways."""

import socket
import threading
import time

import pytest
from prometheus_client import Gauge

from pushgate import (
    PushAuthError,
    PushConnectionError,
    PushGateway,
    PushgatewayError,
    PushRedirectError,
    PushRejectedError,
    PushServerError,
    PushTimeoutError,
    Retry,
)
from pushgate.client.delivery import deliver
from pushgate.client.operation import finished
from tests.client.rogue import (
    answer,
    closed_port,
    drip,
    raw_answer,
    read_request,
    reset_after_body,
    reset_at_once,
    rogue,
    silence,
    slow_reader,
    stall,
    statuses,
)
from tests.client.shared import fails, gauge_values, make
from tests.waiting import until

# Without its deadline each of these pushes would last 20 s or more.
ends_in_time = pytest.mark.timeout(12)


def patience(trouble):
    return 0.1 if trouble is stall else 10


@pytest.mark.parametrize(
    ("trouble", "error", "text"),
    [
        pytest.param(
            answer(503, b"busy"), PushServerError, "was 503, response body: busy", id="503"
        ),
        pytest.param(answer(429), PushServerError, "was 429", id="429"),
        pytest.param(answer(502), PushServerError, "was 502", id="502"),
        pytest.param(answer(504), PushServerError, "was 504", id="504"),
        pytest.param(answer(500), PushServerError, "was 500", id="500"),
        pytest.param(answer(408), PushServerError, "was 408", id="408"),
        pytest.param(reset_after_body, PushConnectionError, "Connection reset", id="reset"),
        pytest.param(stall, PushTimeoutError, "Read timed out (read_timeout= gives", id="stall"),
    ],
)
def test_what_may_pass_is_tried_again(caller, registry, trouble, error, text):
    with rogue(trouble) as server:
        failure = fails(caller, make(caller, server.url, registry, read_timeout=patience(trouble)))
        assert type(failure) is error
        assert failure.attempts == 3
        until(lambda: len(server.seen) == 3)  # a stalled one is read when it has been given up
        assert str(failure).startswith(
            f"Failed to push metrics to the Prometheus Pushgateway on {server.url}: "
        )
        assert text in str(failure)
        assert failure.url == f"{server.url}/metrics/job/j"
        assert (failure.method, failure.job) == ("PUT", "j")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, PushRejectedError),
        (404, PushRejectedError),
        (405, PushRejectedError),
        (413, PushRejectedError),
        (401, PushAuthError),
        (403, PushAuthError),
        (407, PushAuthError),
    ],
)
def test_what_cannot_pass_is_tried_once(caller, registry, status, error):
    with rogue(*statuses(status)) as server:
        failure = fails(caller, make(caller, server.url, registry))
    assert isinstance(failure, error)
    assert isinstance(failure, OSError)
    assert (failure.status, failure.attempts, len(server.seen)) == (status, 1, 1)
    assert failure.body == f"no {status}".encode()


def test_a_refused_connection_is_tried_again(caller, registry):
    failure = fails(caller, make(caller, f"localhost:{closed_port()}", registry))
    assert type(failure) is PushConnectionError
    assert isinstance(failure, ConnectionError)
    assert failure.attempts == 3
    assert str(failure).endswith(": Connection refused")


def test_a_handshake_that_breaks_off_is_tried_again(caller, registry):
    with rogue(reset_at_once) as server:
        url = server.url.replace("http:", "https:")
        failure = fails(caller, make(caller, url, registry))
        assert failure.attempts == len(server.seen) == 3
    assert "Connection reset" in str(failure)


def test_every_attempt_of_a_post_has_the_same_idempotency_key_and_every_post_its_own(
    caller, registry
):
    with rogue(*statuses(503, 401), reset_after_body, answer(202)) as server:
        gateway = make(caller, server.url, registry)
        fails(caller, gateway, method="push_add")
        caller.call(gateway, "push_add")
    keys = [request.headers["idempotency-key"] for request in server.seen]
    assert len(keys) == 4
    assert keys[0] == keys[1] != keys[2] == keys[3]
    assert len(set(keys)) == 2


def test_a_put_and_a_delete_need_no_idempotency_key(caller, registry):
    with rogue(*statuses(200, 202)) as server:
        gateway = make(caller, server.url, registry)
        caller.call(gateway, "push")
        caller.call(gateway, "delete")
    assert ["idempotency-key" in request.headers for request in server.seen] == [False, False]


def test_recovery_sends_the_same_bytes_again(caller, registry):
    with rogue(*statuses(503), reset_after_body, answer(202)) as server:
        result = caller.call(make(caller, server.url, registry), "push")
    assert (result.status, result.attempts) == (202, 3)
    assert len({request.body for request in server.seen}) == 1


@pytest.mark.parametrize("code", [200, 201, 202, 204])
def test_any_2xx_is_a_success(caller, registry, code):
    with rogue(answer(code)) as server:
        assert caller.call(make(caller, server.url, registry), "push").status == code


def test_retry_after_is_honoured(caller, registry):
    with rogue(answer(429, Retry_After="1"), answer()) as server:
        started = time.monotonic()
        result = caller.call(make(caller, server.url, registry), "push")
    assert result.attempts == 2
    assert time.monotonic() - started >= 1


@ends_in_time
def test_nobody_waits_for_centuries_even_without_a_deadline(caller, registry):
    with rogue(answer(503, Retry_After="9" * 20)) as server:
        failure = fails(caller, make(caller, server.url, registry, deadline=None))
    assert isinstance(failure, PushServerError)
    assert failure.attempts == 1


def test_no_pause_leads_beyond_the_deadline(caller, registry):
    with rogue(answer(429, Retry_After="60")) as server:
        failure = fails(caller, make(caller, server.url, registry, deadline=5))
    assert isinstance(failure, PushServerError)
    assert failure.attempts == 1


@ends_in_time
@pytest.mark.parametrize("trouble", [stall, drip])
@pytest.mark.parametrize("retry", [0, 5])
def test_a_push_does_not_outlive_its_deadline(caller, registry, trouble, retry):
    with rogue(trouble) as server:
        gateway = make(caller, server.url, registry, deadline=0.3, retry=retry)
        failure = fails(caller, gateway)
    assert isinstance(failure, PushTimeoutError)
    assert isinstance(failure, TimeoutError)
    assert failure.phase == "deadline"
    assert "the deadline passed" in str(failure)


def through_tls(url):
    return {"address": url.replace("http:", "https:")}


def through_a_tunnel(url):
    return {"address": "https://gateway.invalid", "proxy": url}


@ends_in_time
@pytest.mark.parametrize(
    ("way", "hint"),
    [
        (through_tls, ""),
        (through_a_tunnel, "the connection goes through the proxy localhost:{}"),
    ],
)
def test_a_connection_that_comes_to_nothing_does_not_outlive_the_deadline(
    caller, registry, way, hint
):
    with rogue(silence) as server:
        gateway = caller.make(registry=registry, deadline=0.3, **way(server.url))
        failure = fails(caller, gateway)
    assert failure.phase == "deadline"
    assert not failure.sent
    assert failure.hint == hint.format(server.port)


@ends_in_time
def test_a_slow_reader_does_not_hold_a_push_beyond_its_deadline(caller, big):
    with rogue(slow_reader) as server:
        gateway = caller.make(server.url, registry=big, deadline=1)
        failure = fails(caller, gateway)
    assert failure.phase == "deadline"


def never_reads_but_answers(status, body):
    def play(connection, gateway):
        connection.sendall(raw_answer(status, body, {}))
        gateway.released.wait(20)

    return play


@pytest.fixture(scope="module")
def big():
    return Gauge("big", "x" * 20_000_000, registry=None)


def test_a_refusal_counts_though_the_body_is_never_read(caller, big):
    with rogue(never_reads_but_answers(413, b"too large")) as server:
        gateway = make(caller, server.url, big, read_timeout=0.2)
        assert "413, response body: too large" in str(fails(caller, gateway))


def test_a_success_does_not_count_if_the_body_is_never_read(caller, big):
    with rogue(never_reads_but_answers(200, b"Welcome to the hotel")) as server:
        gateway = make(caller, server.url, big, read_timeout=0.2, retry=0)
        assert isinstance(fails(caller, gateway), PushTimeoutError)


class EarlyTimer:
    """As those of uvloop, which are in whole milliseconds."""

    async def send(self, _):
        return PushTimeoutError("Read timed out")


def test_a_timer_that_is_early_is_that_of_the_deadline_all_the_same():
    request = PushGateway("h:1", job="j", properties=False).prepared("DELETE")
    with pytest.raises(PushTimeoutError, match="the deadline passed") as caught:
        finished(deliver(request._replace(expires=time.monotonic() + 0.001), EarlyTimer()))
    assert caught.value.phase == "deadline"


def test_a_deadline_of_one_push(caller, registry):
    with rogue(stall) as server:
        failure = fails(caller, make(caller, server.url, registry), deadline=0.1)
    assert failure.phase == "deadline"


def test_a_collector_that_takes_too_long_is_not_blamed_on_the_gateway(caller):
    class Slow:
        def collect(self):
            time.sleep(0.02)
            return []

    with rogue() as server:
        failure = fails(caller, make(caller, server.url, Slow()), deadline=0.01)
    assert str(failure).endswith("the deadline passed while the metrics were collected")
    assert failure.phase == "deadline"
    assert not failure.sent
    assert server.seen == []


def test_without_a_deadline_a_push_is_a_push(caller, registry):
    with rogue() as server:
        assert caller.call(make(caller, server.url, registry, deadline=None), "push").status == 200


def test_no_retries_if_none_are_wanted(caller, registry):
    with rogue(answer(503)) as server:
        assert fails(caller, make(caller, server.url, registry, retry=0)).attempts == 1


def test_a_redirect_within_the_server_keeps_method_and_body(caller, registry):
    with rogue(answer(307, Location="/elsewhere"), answer(202)) as server:
        result = caller.call(make(caller, server.url, registry, basic_auth=("u", "p")), "push")
    first, second = server.seen
    assert (second.method, second.path, second.body) == ("PUT", "/elsewhere", first.body)
    assert second.headers["authorization"] == first.headers["authorization"]
    assert result.url.endswith("/elsewhere")


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("../b", "/metrics/b"),
        ("/a b/ä", "/a%20b/%E4"),  # Latin-1 in the header
        ("HTTP://LOCALHOST:{port}/a%20b?c=[d]", "/a%20b?c=[d]"),
        ("//localhost:{port}/x#y", "/x"),
        ("http://localhost:{port}", "/"),
    ],
)
def test_a_redirect_is_followed_however_it_is_written(caller, registry, location, path):
    def redirect(connection, gateway):
        read_request(connection, gateway)
        there = location.format(port=gateway.port).encode("latin-1")
        connection.sendall(b"HTTP/1.0 307 Whatever\r\nLocation: %b\r\n\r\n" % there)

    with rogue(redirect, answer()) as server:
        caller.call(make(caller, server.url, registry, retry=0), "push")
    assert [request.path for request in server.seen] == ["/metrics/job/j", path]


def test_a_host_in_another_script_is_the_same_server_in_idna(caller, registry, monkeypatch):
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, port, **given: resolve("localhost", port, **given)
    )
    with rogue() as server:
        there = f"http://xn--bcher-kva.example:{server.port}/b"
        server.script[:] = [answer(307, Location=there), answer()]
        gateway = make(caller, f"http://bücher.example:{server.port}", registry)
        assert caller.call(gateway, "push").url == there


def test_redirects_end_after_three(caller, registry):
    with rogue(answer(302, Location="/again")) as server:
        assert isinstance(fails(caller, make(caller, server.url, registry)), PushRedirectError)
    assert len(server.seen) == 4


def test_what_can_be_read_only_once_is_pushed_in_text_all_the_same(caller, registry):
    with rogue(answer(400, b"text format parsing error in line 1: x"), answer()) as server:
        gateway = caller.make(server.url, properties=False)
        caller.call(gateway, "push", iter([registry]), names=iter(["rows"]))
    assert b"rows 3" in server.seen[1].body


def test_a_gateway_without_protobuf_gets_text_from_then_on(caller, registry, caplog):
    with rogue(answer(400, b"text format parsing error in line 1: x"), answer()) as server:
        gateway = make(caller, server.url, registry)
        first = caller.call(gateway, "push")
        second = caller.call(gateway, "push")
    assert (first.format, first.attempts, second.format, second.attempts) == ("text", 2, "text", 1)
    assert "native histograms are lost" in caplog.text
    kinds = [request.headers["content-type"][:10] for request in server.seen]
    assert kinds == ["applicatio", "text/plain", "text/plain"]


def test_a_protobuf_push_that_is_refused_for_another_reason_stays_refused(caller, registry):
    with rogue(answer(400, b"pushed metrics are inconsistent")) as server:
        assert fails(caller, make(caller, server.url, registry)).attempts == 1


def test_a_retry_never_overwrites_a_newer_push_of_another_thread():
    rows = Gauge("rows", "", registry=None)
    rows.set(1)
    with rogue(*statuses(503, 503), answer()) as server:
        gateway = PushGateway(server.url, registry=rows, retry=Retry(base=0.2), properties=False)
        older = threading.Thread(target=gateway.push)
        older.start()
        server.asked.wait()
        rows.set(2)
        gateway.push()
        older.join()
    assert gauge_values(server) == [1, 1, 1, 2]


def push_in_vain(gateway):
    with pytest.raises(PushgatewayError):
        gateway.push()


def test_a_hanging_push_holds_up_the_next_one_no_longer_than_its_deadline(registry):
    with rogue(stall) as server:
        gateway = PushGateway(server.url, registry=registry, properties=False, retry=0)
        first = threading.Thread(target=push_in_vain, args=(gateway,))
        first.start()
        server.asked.wait()
        with pytest.raises(PushTimeoutError, match="another push"):
            gateway.push(deadline=0.1)
        server.released.set()
        first.join()
