"""HTTP without sockets: what is written, and what answers mean however they are cut."""

import socket
import ssl
import threading

import h11
import pytest
import trustme

from pushgate.client.delivery import Send
from pushgate.client.exchange import Channel, ProxyError
from pushgate.client.failures import Answer, RequestInfo
from pushgate.client.tls import default_context
from pushgate.client.wire import Connect, Read, Resolve, Write
from tests.client.rogue import answer, read_request, rogue

OK = b"HTTP/1.1 202 Accepted\r\nX-Name: caf\xe9\r\nContent-Length: 2\r\n\r\nok"


def send(url="http://gateway:9091/metrics/job/j", body=b"", method="PUT", headers=()):
    return Send(RequestInfo(url, url, method), dict(headers), body, expires=0.0)


def carried_out(actions, received, *, refuse_writes=False):
    """Returns what *actions* come to, and what they do; *received* is what the other side says."""
    done, pieces, outcome = [], list(received), None
    try:
        while True:
            action = actions.send(outcome)
            outcome = None
            done.append(action)
            if isinstance(action, Read):
                outcome = pieces.pop(0) if pieces else b""
            elif isinstance(action, Resolve):
                outcome = ["first", "second"]
            elif isinstance(action, Write) and refuse_writes:
                action = actions.throw(BrokenPipeError())
                done.append(action)
                outcome = pieces.pop(0)
    except StopIteration as end:
        return end.value, done


def channel(url="http://gateway:9091/", proxy=None):
    return Channel(url, proxy, None, None)


def written(actions):
    return b"".join(action.data for action in actions if isinstance(action, Write))


@pytest.mark.parametrize("cut", range(1, len(OK)))
def test_an_answer_is_the_same_wherever_it_is_cut(cut):
    got, _ = carried_out(channel().request(send()), [OK[:cut], OK[cut:]])
    assert got == Answer(202, "Accepted", {"x-name": "café", "content-length": "2"}, b"ok")


def test_an_answer_that_says_continue_first_is_the_one_behind_it():
    got, _ = carried_out(channel().request(send()), [b"HTTP/1.1 100 Continue\r\n\r\n" + OK])
    assert got.status == 202


def test_a_connection_is_used_again_after_a_complete_answer_only():
    kept = channel()
    assert not kept.is_reusable
    for _ in range(2):
        carried_out(kept.request(send()), [OK])
        assert kept.is_reusable
    carried_out(kept.request(send()), [b"HTTP/1.0 200 OK\r\n\r\nuntil the end"])
    assert not kept.is_reusable


def test_an_answer_to_half_a_body_counts_and_ends_the_connection():
    kept = channel()
    refusal = OK.replace(b"202", b"413")
    got, _ = carried_out(kept.request(send(body=b"x")), [refusal], refuse_writes=True)
    assert got.status == 413
    assert not kept.is_reusable


@pytest.mark.parametrize("received", [[], [OK[:-1]], [b"SSH-2.0-OpenSSH\r\n\r\n"]])
def test_what_is_no_complete_answer_is_an_error_of_the_protocol(received):
    with pytest.raises(h11.RemoteProtocolError):
        carried_out(channel().request(send()), received)


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
    _, done = carried_out(channel(url).request(send(url)), [OK])
    assert b"\r\nhost: %s\r\n" % host in written(done).lower()


def test_a_small_request_is_one_write():
    _, done = carried_out(channel().request(send(body=b"rows 3\n")), [OK])
    assert [type(action) for action in done] == [Write, Read]
    assert done[0].data.endswith(b"\r\n\r\nrows 3\n")


def test_a_proxy_gets_the_whole_url_and_its_credentials():
    through = channel(proxy="http://us%40er:pass@proxy:3128")
    _, done = carried_out(through.open(), [])
    assert done == [Resolve("proxy", 3128), Connect("first", 1 / 2)]
    _, done = carried_out(through.request(send()), [OK])
    assert written(done).startswith(b"PUT http://gateway:9091/metrics/job/j HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNAZXI6cGFzcw==\r\n" in written(done)


def test_every_address_is_tried_before_the_last_failure_counts():
    opening = channel().open()
    assert next(opening) == Resolve("gateway", 9091)
    assert opening.send(["first", "second"]) == Connect("first", 1 / 2)
    assert opening.throw(TimeoutError()) == Connect("second", 1)
    with pytest.raises(ConnectionRefusedError):
        opening.throw(ConnectionRefusedError())


def test_a_tunnel_that_is_refused_sends_nothing_to_the_gateway():
    through = Channel("https://gateway/", "http://proxy", ssl.create_default_context(), None)
    with pytest.raises(ProxyError, match="403 Forbidden"):
        carried_out(through.open(), [b"HTTP/1.1 403 Forbidden\r\n\r\n"])
    assert not through.is_ready


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
