"""HTTP without sockets: what is written, and what answers mean however they are cut."""

import itertools
import math
import socket
import ssl
import threading

import h11
import pytest
import trustme

from pushgate import PushAuthError, PushGateway
from pushgate.client.delivery import Request
from pushgate.client.exchange import Channel, ProxyError
from pushgate.client.failures import Answer, RequestInfo
from pushgate.client.operation import finished
from pushgate.client.retry import Retry
from pushgate.client.tls import default_context
from tests.client.rogue import answer, read_request, rogue

OK = b"HTTP/1.1 202 Accepted\r\nX-Name: caf\xe9\r\nContent-Length: 2\r\n\r\nok"


def send(url="http://gateway:9091/metrics/job/j", body=b"", method="PUT", headers=()):
    return Request(
        RequestInfo(url, url, method),
        dict(headers),
        body,
        None,
        Retry(),
        0.0,
        job="j",
        grouping_key={},
    )


class Fake:
    """A socket that reads what it is given, and remembers what is written."""

    is_ready, expires = False, math.inf

    def __init__(self, *received, refuses=None):
        self.received, self.refuses = iter(received), refuses
        self.connected, self.written = None, []

    async def connect(self, host, port):
        self.connected = host, port

    async def write(self, data):
        if self.refuses:
            raise self.refuses
        self.written.append(data)

    async def read(self):
        return next(self.received, b"")


def channel(*received, url="http://gateway:9091/", proxy=None, context=None, **options):
    fake = Fake(*received, **options)
    return Channel(fake, url, proxy, context, None), fake


def answered(*received, **options):
    return finished(channel(*received)[0].request(send(**options)))


def test_an_answer_is_the_same_wherever_it_is_cut():
    headers = {"x-name": "café", "content-length": "2"}
    for cut in range(1, len(OK)):
        assert answered(OK[:cut], OK[cut:]) == Answer(202, "Accepted", headers, b"ok"), cut


def test_an_answer_that_says_continue_first_is_the_one_behind_it():
    assert answered(b"HTTP/1.1 100 Continue\r\n\r\n" + OK).status == 202


@pytest.mark.parametrize("asked", ["identity", "gzip"])
def test_an_answer_is_asked_for_as_it_is_unless_the_caller_asks_otherwise(asked):
    to, fake = channel(OK)
    headers = {} if asked == "identity" else {"accept-encoding": asked}
    finished(to.request(send(headers=headers)))
    lines = fake.written[0].lower().split(b"\r\n")
    assert [line for line in lines if b"encoding" in line] == [
        b"accept-encoding: %s" % asked.encode()
    ]


def test_an_answer_without_end_does_not_fill_the_memory():
    unread, fake = channel()
    fake.received = itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b"x" * 9999))
    assert finished(unread.request(send())).status == 200
    assert not unread.is_reusable


def test_what_a_list_answers_is_read_to_its_end():
    body = b"x" * (3 << 20)
    pieces = [b"HTTP/1.1 200 OK\r\n\r\n", *(body[: 1 << 20] for _ in range(3))]
    assert len(answered(*pieces, method="GET").body) == 3 << 20


def test_a_connection_is_used_again_after_a_complete_answer_only():
    kept, _ = channel(OK, OK, b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
    for is_reusable in (True, True, False):
        finished(kept.request(send()))
        assert kept.is_reusable is is_reusable


def test_a_second_answer_is_not_taken_for_that_of_the_next_request():
    kept, _ = channel(OK + OK)
    assert finished(kept.request(send())).status == 202
    assert not kept.is_reusable


def test_an_answer_to_half_a_body_counts_and_ends_the_connection():
    kept, _ = channel(OK.replace(b"202", b"413"), refuses=BrokenPipeError)
    assert finished(kept.request(send(body=b"x"))).status == 413
    assert not kept.is_reusable


def test_a_success_that_has_not_had_the_whole_body_is_none():
    with pytest.raises(BrokenPipeError):
        finished(channel(OK, refuses=BrokenPipeError)[0].request(send(body=b"x")))


def test_the_answer_of_a_gateway_that_has_stopped_to_read_has_a_short_time_of_its_own():
    kept, fake = channel(OK.replace(b"202", b"413"), refuses=TimeoutError)
    assert finished(kept.request(send(body=b"x"))).status == 413
    assert fake.expires < math.inf


@pytest.mark.parametrize("received", [[], [OK[:-1]], [b"SSH-2.0-OpenSSH\r\n\r\n"]])
def test_what_is_no_complete_answer_is_an_error_of_the_protocol(received):
    with pytest.raises(h11.RemoteProtocolError):
        answered(*received)


def test_an_answer_that_is_no_http_is_shown():
    with pytest.raises(h11.RemoteProtocolError, match="after b'SSH-2-OpenSSH'"):
        answered(b"SSH-2-OpenSSH")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://gateway:9091/m", b"gateway:9091"),
        ("http://gateway:80/m", b"gateway"),
        ("http://[::1]:9091/m", b"[::1]:9091"),
        ("http://b\u00fccher.example/m", b"xn--bcher-kva.example"),
    ],
)
def test_the_host_is_named_as_http_wants_it(url, host):
    to, fake = channel(OK, url=url)
    finished(to.request(send(url)))
    assert b"\r\nhost: %s\r\n" % host in fake.written[0].lower()


def test_a_small_request_is_one_write():
    to, fake = channel(OK)
    finished(to.request(send(body=b"rows 3\n")))
    [request] = fake.written
    assert request.endswith(b"\r\n\r\nrows 3\n")


def test_a_proxy_gets_the_whole_url_and_its_credentials():
    through, fake = channel(OK, proxy="http://us%40er:pass@proxy:3128")
    finished(through.open())
    assert fake.connected == ("proxy", 3128)
    finished(through.request(send()))
    assert fake.written[0].startswith(b"PUT http://gateway:9091/metrics/job/j HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNAZXI6cGFzcw==\r\n" in fake.written[0]


def test_a_tunnel_that_is_refused_sends_nothing_to_the_gateway():
    refusal, context = b"HTTP/1.1 403 Forbidden\r\n\r\n", ssl.create_default_context()
    through, fake = channel(refusal, url="https://gateway/", proxy="http://proxy", context=context)
    with pytest.raises(ProxyError, match="403 Forbidden"):
        finished(through.open())
    assert fake.written[0].startswith(b"CONNECT gateway:443 HTTP/1.1\r\n")
    assert not fake.is_ready


def tunnel(connection, proxy):
    """Connects as CONNECT asks, and copies bytes until either side ends."""
    request = read_request(connection, proxy)
    host, _, port = request.path.rpartition(":")
    with socket.create_connection((host, int(port))) as gateway:
        connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        back = threading.Thread(target=copy, args=(gateway, connection), daemon=True)
        back.start()
        copy(connection, gateway)
        back.join()


def copy(here, there):
    while data := here.recv(1 << 16):
        there.sendall(data)
    there.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("proxy_speaks_tls", [False, True])
def test_a_tunnel_hides_the_request_from_the_proxy(
    caller, registry, tmp_path, monkeypatch, proxy_speaks_tls
):
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))  # who signed the proxy's certificate
    default_context.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    tls = context if proxy_speaks_tls else None
    with rogue(answer(202), tls=context) as server, rogue(tunnel, tls=tls) as proxy:
        options = {"registry": registry, "proxy": proxy.url, "ca_file": ca_file, "retry": 0}
        gateway = caller.make(server.url, job="j", **options)
        assert caller.call(gateway, "push").status == 202
        assert [seen.method for seen in proxy.seen] == ["CONNECT"]
        assert "authorization" not in proxy.seen[0].headers
        assert [seen.method for seen in server.seen] == ["PUT"]


def test_a_proxy_that_refuses_is_an_error_of_the_credentials():
    with rogue(answer(407)) as proxy:
        for url in ("http://h:1", "https://h:1"):
            with pytest.raises(PushAuthError) as caught:
                PushGateway(url, proxy=proxy.url, retry=0, properties=False).delete()
            assert caught.value.status == 407
