"""Every limit on the running server: what passes it is refused, named, and counted."""

import gzip
import re
import socket
import subprocess
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import cramjam
import pytest

from pushgate.formats.zstd import zstd
from pushgate.server.settings import Settings
from tests import services
from tests.exchange import TIMEOUT, Answer, ask, exchanged, statuses

LIMITS = (
    "--limit.body-bytes=100KiB",
    "--limit.decompressed-bytes=1MiB",
    "--limit.held-bytes=150KiB",
    "--limit.series-per-push=20",
    "--limit.label-name-bytes=10",
    "--limit.label-value-bytes=50",
    "--limit.labels-per-series=5",
    "--limit.groups=3",
    "--limit.series=50",
    "--limit.header-seconds=1",
    "--limit.body-seconds=2",
    "--limit.idle-seconds=1",
)
BOMB = b"# " + b"0" * (2 << 20) + b"\n"


@pytest.fixture(scope="module")
def limited():
    with services.pushgate(*LIMITS) as service:
        yield service


@pytest.fixture(scope="module")
def unlimited():
    with services.pushgate(*(f"{flag.partition('=')[0]}=0" for flag in LIMITS)) as service:
        yield service


def push(service, body: bytes, job: str = "j", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(service.port, "PUT", f"/metrics/job/{job}", body, named)


def rejected(service, reason: str) -> int:
    found = re.search(
        rf'^pushgate_rejected_pushes_total{{reason="{reason}"}} (\d+)$',
        service.get("/metrics"),
        re.MULTILINE,
    )
    return int(found[1]) if found else 0


PAYLOADS = {
    "body-bytes": (b"# " + b"x" * (101 << 10) + b"\n", ""),
    "decompressed-bytes": (gzip.compress(BOMB), "gzip"),
    "decompressed-bytes, zstd": (zstd.compress(BOMB), "zstd"),
    "decompressed-bytes, zlib": (zlib.compress(BOMB), "deflate"),
    "decompressed-bytes, raw": (zlib.compress(BOMB, wbits=-15), "deflate"),
    "decompressed-bytes, snappy": (bytes(cramjam.snappy.compress(BOMB)), "snappy"),
    "series-per-push": (b"".join(b"m%d 1\n" % number for number in range(21)), ""),
    "label-name-bytes": (b'm{name_of_11_="x"} 1\n', ""),
    "label-value-bytes": (b'm{l="' + b"x" * 51 + b'"} 1\n', ""),
    "labels-per-series": (b'm{a="",b="",c="",d="",e="",f=""} 1\n', ""),
}


@pytest.mark.parametrize("case", PAYLOADS)
def test_a_push_that_is_too_large_is_refused_named_and_counted(limited, case):
    body, encoding = PAYLOADS[case]
    limit = case.partition(",")[0]
    before = rejected(limited, limit)
    answer = push(limited, body, content_encoding=encoding)
    assert (answer.status, answer.headers["content-type"]) == (413, "text/plain; charset=utf-8")
    assert f"(--limit.{limit})" in answer.first_line
    assert rejected(limited, limit) == before + 1
    assert 'job="j"' not in limited.get("/metrics")


@pytest.mark.parametrize("case", PAYLOADS)
def test_zero_is_no_limit(unlimited, case):
    body, encoding = PAYLOADS[case]
    assert push(unlimited, body, content_encoding=encoding).status == 200


@pytest.mark.parametrize("flag", ["body-bytes=10", "decompressed-bytes=10"])
def test_small_bodies_have_limits_too(flag):
    """They take a way of their own, the second time an even shorter one."""
    encoding = "gzip" if "decompressed" in flag else ""
    body = gzip.compress(b"metric 1\nmetric2 1\n") if encoding else b"metric 1\nmetric2 1\n"
    with services.pushgate(f"--limit.{flag}") as service:
        for _ in range(3):
            assert push(service, body, content_encoding=encoding).status == 413
        assert push(service, b"m 1\n").status == 200


def received(connection: socket.socket, end: bytes) -> bytes:
    answer = b""
    while not answer.endswith(end):
        answer += connection.recv(65536)
    return answer


def test_who_asks_before_a_body_is_told_without_it(limited):
    request = HEAD + b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
    assert statuses(exchanged(limited.port, request)) == [413]
    request = HEAD + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    assert statuses(exchanged(limited.port, request + b"m 1\n")) == [100, 200]


HEAD = b"PUT /metrics/job/j HTTP/1.1\r\nHost: g\r\n"


@pytest.mark.parametrize(
    "start",
    [b"Content-Length: 1000000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"],
    ids=["declared", "chunked"],
)
def test_a_large_body_is_refused_before_it_is_there(limited, start):
    chunk = b"%x\r\n%b\r\n" % (64 << 10, b"x" * (64 << 10))
    with socket.create_connection(("127.0.0.1", limited.port), timeout=TIMEOUT) as connection:
        connection.sendall(HEAD + start)
        if b"chunked" in start:
            connection.sendall(chunk + chunk)
        answer = received(connection, b"bytes)\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the body has more than 102400 bytes (--limit.body-bytes)" in answer


def test_what_follows_a_refused_body_is_no_request(limited):
    """The rest of a body that was refused early is dropped, whatever bytes it has."""
    inside = b"GET /-/healthy HTTP/1.1\r\nHost: \xff#\r\n\r\n"
    body = inside * (200_000 // len(inside))
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    last = b"GET /-/ready HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"
    assert statuses(exchanged(limited.port, request + last)) == [413, 200]


@pytest.mark.parametrize(
    ("head", "status", "said"),
    [
        (b"GET / HTTP/1.1", 400, b"400 Bad Request: missing required Host header"),
        (b"GET / HTTP/1.1\r\nHost: a b", 400, b"400 Bad Request: malformed Host header"),
        (b"GET / HTTP/1.0\r\nHost: a/b", 400, b"400 Bad Request: malformed Host header"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400, b"400 Bad Request"),
        (
            b"GET / HTTP/2.0\r\nHost: a",
            505,
            b"505 HTTP Version Not Supported: unsupported protocol version",
        ),
        (HEAD + b"Transfer-Encoding: gzip, chunked", 501, b"Unsupported transfer encoding"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz", 400, b"invalid byte in chunk length\n"),
        (b"GET /-/ready HTTP/1.1\r\nHost: [::1]:9\r\nConnection: close", 200, b"OK"),
    ],
)
def test_a_request_that_breaks_http_is_refused_in_the_words_of_the_reference(
    limited, head, status, said
):
    answer = exchanged(limited.port, head + b"\r\n\r\n")
    assert statuses(answer) == [status]
    assert answer.endswith(said)


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"Content-Length: 4\r\nContent-Length: 4",
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        HEAD + b"Content-Length: 4\r\nX: folded\r\n line",
        HEAD + b"Content-Length: 4\rX: y",
        HEAD + b"Content-Length : 4",
        HEAD + b"Content-Length: +4",
    ],
)
def test_a_head_that_others_may_read_differently_is_refused(limited, head):
    assert statuses(exchanged(limited.port, head + b"\r\n\r\nm 1\n")) == [400]


def test_an_upgrade_in_a_body_is_left_alone(limited):
    body = b"m 1\r\nupgrade:total 1\r\n" * 1
    request = HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    assert statuses(exchanged(limited.port, request)) == [200]
    assert "upgrade:total" in limited.get("/metrics")


def test_bodies_on_their_way_have_a_common_limit(limited):
    start = HEAD + b"Content-Length: 100000\r\n\r\n" + b"#" * 90_000
    with ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(
                socket.create_connection(("127.0.0.1", limited.port), timeout=TIMEOUT)
            )
            connection.sendall(start)
        answer = received(connection, b"bytes)\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in answer
        assert b"(--limit.held-bytes)" in answer
        assert push(limited, b"m 1\n").status == 200
    assert rejected(limited, "held-bytes") >= 1


def test_groups_and_series_have_a_limit(limited):
    ask(limited.port, "DELETE", "/metrics/job/j")
    for job in "abc":
        assert push(limited, b"".join(b"m%d 1\n" % n for n in range(15)), job).status == 200
    full = push(limited, b"m 1\n", "d")
    assert (full.status, full.headers["retry-after"]) == (429, "5")
    assert "3 groups are stored already (--limit.groups)" in full.first_line
    more = push(limited, b"".join(b"m%d 1\n" % n for n in range(20)), "c")
    assert more.status == 200
    more = push(limited, b"".join(b"m%d 1\n" % n for n in range(20)), "b")
    assert more.status == 429
    assert "(--limit.series)" in more.first_line
    assert rejected(limited, "groups") == rejected(limited, "series") == 1
    for job in "abc":
        ask(limited.port, "DELETE", f"/metrics/job/{job}")


# --- Time ----------------------------------------------------------------------------------------


def until_closed(port: int, *parts: bytes) -> tuple[bytes, float]:
    """What comes back for *parts*, sent at intervals, and after how many seconds it ended."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
        connection.settimeout(0.3)
        answer, remaining = b"", list(parts)
        while time.monotonic() < started + TIMEOUT:
            try:
                if remaining:
                    connection.sendall(remaining.pop(0))
                piece = connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:  # what was sent crossed the end
                piece = b""
            if not piece:
                return answer, time.monotonic() - started
            answer += piece
    raise AssertionError("never closed")


def test_headers_have_to_arrive_in_time(limited):
    letters = [bytes([byte]) for byte in HEAD]
    answer, seconds = until_closed(limited.port, *letters)
    assert statuses(answer) == [408]
    assert b"the headers took too long to arrive (--limit.header-seconds)" in answer
    assert rejected(limited, "header-seconds") == 1
    assert 1 <= seconds < 5


def test_a_connection_that_says_nothing_is_closed(limited):
    answer, seconds = until_closed(limited.port)
    assert answer == b""
    assert 1 <= seconds < 5


@pytest.mark.parametrize("length", [100, 90_000])
def test_a_body_has_to_arrive_in_time(limited, length):
    head = HEAD + b"Content-Length: %d\r\n\r\n" % length
    answer, seconds = until_closed(limited.port, head, *[b"x"] * 20)
    assert statuses(answer) == [408]
    assert b"the body took too long to arrive (--limit.body-seconds)" in answer
    assert rejected(limited, "body-seconds") >= 1
    assert 2 <= seconds < 6


def test_the_rest_of_a_refused_body_has_to_arrive_in_time(limited):
    head = HEAD + b"Content-Length: 1000000\r\n\r\n"
    answer, seconds = until_closed(limited.port, head, *[b"x"] * 20)
    assert statuses(answer) == [413]
    assert 1 <= seconds < 6


def open_sockets(service) -> set[str]:
    names = set()
    for file in Path(f"/proc/{service.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            names.add(str(file.readlink()))
    return {name for name in names if name.startswith("socket:")}


def test_who_does_not_read_the_answer_is_cut_off():
    body = b"".join(b'm{l="%d%b"} 1\n' % (n, b"x" * 200) for n in range(60_000))
    with services.pushgate("--limit.idle-seconds=1") as service, socket.socket() as connection:
        assert push(service, body).status == 200
        before = open_sockets(service)
        connection.connect(("127.0.0.1", service.port))
        while not (own := open_sockets(service) - before):
            time.sleep(0.05)
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: g\r\n\r\n")
        while own & open_sockets(service):
            time.sleep(0.05)
        came = 0
        with suppress(ConnectionError):
            while piece := connection.recv(1 << 20):
                came += len(piece)
        assert 0 < came < len(body)


def test_an_idle_connection_is_closed(limited):
    request = b"GET /-/ready HTTP/1.1\r\nHost: g\r\n\r\n"
    for parts in ([request], [HEAD + b"Content-Length: 110000\r\n\r\n", b"x" * 110_000]):
        answer, seconds = until_closed(limited.port, *parts)
        assert len(statuses(answer)) == 1
        assert 1 <= seconds < 5


# --- How many at a time --------------------------------------------------------------------------


def test_connections_have_a_limit():
    with services.pushgate("--limit.connections=3") as service, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
        refused = exchanged(service.port, b"")
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"too many connections (--limit.connections)" in refused
        assert b"retry-after: 5\r\n" in refused
        stack.close()
        deadline = time.monotonic() + TIMEOUT
        while exchanged(service.port, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 503"):
            assert time.monotonic() < deadline
        assert rejected(service, "connections") >= 1


def test_heads_have_a_limit_of_lines(unlimited):
    for lines, status in ((990, 200), (1001, 431)):
        request = b"GET /-/ready HTTP/1.1\r\nHost: g\r\nConnection: close\r\n"
        answer = exchanged(unlimited.port, request + b"X: y\r\n" * lines + b"\r\n")
        assert statuses(answer) == [status]


def test_paths_have_a_limit(unlimited):
    for value, status in (("v" * (64 << 10), 200), ("%76" * (64 << 10), 414)):
        assert ask(unlimited.port, "PUT", f"/metrics/job/j/v/{value}", b"m 1\n").status == status
        assert "v" * (64 << 10) in unlimited.get("/metrics")


def test_heads_on_their_way_have_a_common_limit(limited):
    start = HEAD + b"X: " + b"x" * 100_000
    with ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(
                socket.create_connection(("127.0.0.1", limited.port), timeout=TIMEOUT)
            )
            connection.sendall(start)
        answer = received(connection, b"bytes)\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in answer
        assert b"(--limit.held-bytes)" in answer


def test_pushes_in_flight_have_a_limit():
    body = b"".join(b'm{l="%d"} 1\n' % number for number in range(20_000))
    with (
        services.pushgate("--limit.pushes-in-flight=1") as service,
        ThreadPoolExecutor(12) as clients,
    ):
        answers = list(clients.map(lambda n: push(service, body, f"j{n}"), range(24)))
        refused = [answer for answer in answers if answer.status != 200]
        assert 0 < len(refused) < 24
        for answer in refused:
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            assert "1 pushes are waiting (--limit.pushes-in-flight)" in answer.first_line
        assert rejected(service, "pushes-in-flight") == len(refused)


def test_every_limit_is_on_by_default_in_the_help_and_on_the_status_page():
    help_ = subprocess.check_output([services.PUSHGATE, "serve", "--help"], text=True)
    with services.pushgate() as service:
        page = service.get("/status")
        shown = service.get("/api/v1/status")
    flags = [name for name in Settings().rows() if name.startswith("limit.")]
    assert len(flags) == len(LIMITS) + 2
    for flag in flags:
        assert flag in page
        assert re.search(f"--{flag} [1-9]", help_)
        assert re.search(rf'"{flag}":"[1-9]', shown)
