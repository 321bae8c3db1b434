"""Clients that mean harm: the server goes on answering, and stays below 400 MB.

Sizes are small in the usual run; ``make abuse`` sets PUSHGATE_ABUSE=1 for the full ones.
All of it stays on loopback.
"""

import http.client
import itertools
import os
import re
import selectors
import socket
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import cramjam
import pytest

from pushgate.formats.zstd import zstd
from tests import services
from tests.delimited import PROTOBUF
from tests.exchange import TIMEOUT, ask, not_reading, statuses
from tests.fuzz.schema import varint

FULL = os.environ.get("PUSHGATE_ABUSE") == "1"
MOST_MEGABYTES = 400
P99_SECONDS = 0.05

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
    pytest.mark.timeout(600 if FULL else 60),
]


def peak_megabytes(service: services.Service) -> float:
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(peak) / 1024


class Pushes:
    """What a well-behaved client sees meanwhile: the seconds of each push, all answered 200."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.answered: set[int] = set()

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


@contextmanager
def pushing(service: services.Service) -> Iterator[Pushes]:
    """Push again and again while the block runs; at its end, tell what that was like."""
    Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")  # forget the last peak
    seen, done = Pushes(), threading.Event()

    def push() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=TIMEOUT)
        with closing(connection):
            for number in itertools.count():
                started = time.perf_counter()
                connection.request("PUT", "/metrics/job/good", b"m %d\n" % number)
                answer = connection.getresponse()
                answer.read()
                seen.seconds.append(time.perf_counter() - started)
                seen.answered.add(answer.status)
                if done.wait(0.005):
                    return

    thread = threading.Thread(target=push)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
    slowest = max(seen.seconds)
    print(  # noqa: T201 - shown by `make abuse`
        f"\n{len(seen.seconds)} pushes meanwhile: p99 {seen.p99 * 1000:.1f} ms, slowest"
        f" {slowest * 1000:.0f} ms; server peak {peak_megabytes(service):.0f} MB"
    )
    assert seen.answered == {200}


def send(service: services.Service, head: str, body: Iterable[bytes] = ()) -> bytes:
    """What comes back for a request, however much of it the server takes."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT) as connection:
        with suppress(ConnectionError):
            connection.sendall(head.encode("latin-1") + b"\r\n\r\n")
            for part in body:
                connection.sendall(part)
        answer = b""
        with suppress(ConnectionError):
            while not answer.endswith(b")\n"):
                piece = connection.recv(65536)
                if not piece:
                    break
                answer += piece
        return answer


def head_of(**headers: object) -> str:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(["PUT /metrics/job/bad HTTP/1.1", "Host: g", *lines])


# --- Slow ----------------------------------------------------------------------------------------


def test_a_thousand_slow_senders_cost_no_more_than_their_connections():
    senders, seconds = (1000, 10) if FULL else (150, 1)
    flags = [f"--limit.header-seconds={seconds}", f"--limit.body-seconds={seconds}"]
    head = head_of(Content_Length=100_000)
    with services.pushgate(*flags) as service, pushing(service) as pushes, ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for number in range(senders):
            connection = socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT)
            stack.callback(connection.close)
            selector.register(connection, selectors.EVENT_READ)
            # Half of them are slow with their headers, half with their bodies.
            connection.sendall(f"{head}\r\n\r\n".encode() if number % 2 else b"PUT /met")
        answers = sent_slowly(selector, senders)
    assert {status for answer in answers for status in statuses(answer)} == {408}
    assert len(answers) == senders
    if FULL:
        assert pushes.p99 <= P99_SECONDS


def sent_slowly(selector: selectors.BaseSelector, senders: int) -> list[bytes]:
    """Send a byte a second on each connection; return what each was told in the end."""
    answers: list[bytes] = []
    deadline = time.monotonic() + 60
    while len(answers) < senders and time.monotonic() < deadline:
        second = time.monotonic() + 1
        for key in list(selector.get_map().values()):
            with suppress(ConnectionError):
                key.fileobj.send(b"x")
        while (left := second - time.monotonic()) > 0 and selector.get_map():
            for key, _ in selector.select(left):
                answers.append(key.fileobj.recv(65536))
                selector.unregister(key.fileobj)
    return answers


# --- Large ---------------------------------------------------------------------------------------

GIGABYTE = 1 << 30
ZEROS = bytes(1 << 20)


def gzip_bomb(size: int) -> bytes:
    return b"\x1f\x8b\x08" + bytes(7) + deflate_bomb(size)


def deflate_bomb(size: int) -> bytes:
    deflate = zlib.compressobj(9, wbits=-15)
    # What was flushed so means the same wherever it stands.
    part = deflate.compress(ZEROS) + deflate.flush(zlib.Z_FULL_FLUSH)
    return part * (size // len(ZEROS))


def zstd_bomb(size: int) -> bytes:
    return zstd.compress(ZEROS * 128) * (size // len(ZEROS) // 128 + 1)


def snappy_bomb(size: int) -> bytes:
    stream = bytes(cramjam.snappy.compress(ZEROS))
    return stream + stream[10:] * (size // len(ZEROS))


@pytest.mark.parametrize(
    ("encoding", "bomb", "full"),
    [
        ("gzip", gzip_bomb, 10 * GIGABYTE),
        ("deflate", deflate_bomb, 10 * GIGABYTE),
        ("zstd", zstd_bomb, 10 * GIGABYTE),
        ("snappy", snappy_bomb, GIGABYTE // 2),  # 21 to 1: more would not fit a body
    ],
)
def test_a_bomb_is_refused_while_it_is_inflated(gateway, encoding, bomb, full):
    body = bomb(full if FULL else GIGABYTE // 4)
    with pushing(gateway):
        for _ in range(4):
            head = head_of(Content_Encoding=encoding, Content_Length=len(body))
            answer = send(gateway, head, [body])
            assert statuses(answer) == [413]
            assert b"(--limit.decompressed-bytes)" in answer
    assert peak_megabytes(gateway) < MOST_MEGABYTES


def test_many_bombs_at_the_same_time_wait_for_each_other(gateway):
    body = zstd_bomb(GIGABYTE)
    head = head_of(Content_Encoding="zstd", Content_Length=len(body))
    with pushing(gateway):
        found: list[list[int]] = []
        threads = [
            threading.Thread(target=lambda: found.append(statuses(send(gateway, head, [body]))))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [[413]] * 20
    assert peak_megabytes(gateway) < MOST_MEGABYTES


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_a_gigabyte_is_refused(gateway, chunked):
    count = (GIGABYTE if FULL else GIGABYTE // 16) // len(ZEROS)
    chunk = b"%x\r\n%b\r\n" % (len(ZEROS), ZEROS) if chunked else ZEROS
    framing = {"Transfer_Encoding": "chunked"} if chunked else {"Content_Length": GIGABYTE}
    with pushing(gateway):
        answer = send(gateway, head_of(**framing), [chunk] * count)
    assert statuses(answer) == [413]
    assert b"(--limit.body-bytes)" in answer
    assert peak_megabytes(gateway) < MOST_MEGABYTES


def test_many_large_bodies_at_the_same_time_have_a_common_limit(gateway):
    size, length = 30 << 20, 31 << 20
    with pushing(gateway), ExitStack() as stack:
        for _ in range(8 if FULL else 6):
            connection = socket.create_connection(("127.0.0.1", gateway.port), timeout=TIMEOUT)
            stack.enter_context(connection)
            connection.sendall(f"{head_of(Content_Length=length)}\r\n\r\n".encode() + bytes(size))
        assert connection.recv(65536).startswith(b"HTTP/1.1 503 ")
    assert peak_megabytes(gateway) < MOST_MEGABYTES


# --- Much in little ------------------------------------------------------------------------------

MILLION = 1_000_000 if FULL else 150_000


def field(tag: int, content: bytes) -> bytes:
    return bytes([tag]) + varint(len(content)) + content


def family(kind: int, metrics: bytes) -> bytes:
    inner = b"\x0a\x01a\x18" + bytes([kind]) + metrics
    return varint(len(inner)) + inner


def nested(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = field(0x22, inner)
    return inner


HOSTILE = {
    "labels": (lambda: b"a{" + b"".join(b'l%d="",' % n for n in range(MILLION)) + b"} 1\n", 413),
    "series": (lambda: b"".join(b"a%d 1\n" % n for n in range(MILLION)), 413),
    "help": (lambda: b"".join(b"# HELP a%d x\n" % n for n in range(400_000)), 413),
    "value": (lambda: b'a{l="' + b"x" * (1 << 24) + b'"} 1\n', 413),
    "name": (lambda: b"a" * (1 << 24) + b" 1\n", 413),
    "digits": (lambda: b"a " + b"1" * (1 << 19) + b"\n", 400),
    "one line": (lambda: b"a" * (16 * MILLION), 413),
    "long lines": (lambda: (b"a{" + b"x" * (1 << 20) + b"}\n") * 30, 413),
    "lines": (lambda: (b"a{" + b"x" * (1 << 19) + b"} 1\n") * 30, 400),
    "quotes": (lambda: b'a{l="' + b'\\"' * (1 << 18), 400),
}
HOSTILE_MESSAGES = {
    "metrics": (lambda: family(1, b"\x22\0" * 4 * MILLION), 413),
    "families": (lambda: b"\0" * 8 * MILLION, 413),
    "labels": (lambda: family(1, field(0x22, b"\x0a\0" * 4 * MILLION)), 413),
    "buckets": (lambda: family(4, field(0x22, field(0x3A, b"\x1a\0" * 4 * MILLION))), 413),
    "spans": (lambda: family(4, field(0x22, field(0x3A, b"\x62\0" * 2_200_000))), 413),
    "exemplars": (
        lambda: family(0, field(0x22, field(0x1A, field(0x12, b"\x0a\0" * 4 * MILLION)))),
        413,
    ),
    "deltas": (lambda: family(4, field(0x22, field(0x3A, field(0x6A, bytes(16 * MILLION))))), 413),
    "depth": (lambda: family(1, nested(5000)), 400),
    "group depth": (lambda: family(1, b"\x0b" * MILLION), 400),
    "length": (lambda: b"\xff" * 8 + b"\x7f", 400),
    "inner length": (lambda: family(1, b"\x22\xff\xff\xff\xff\x0f"), 400),
    "overlong": (lambda: b"\xff" * MILLION, 400),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_text_that_holds_too_much_costs_its_bytes(gateway, kind):
    make, status = HOSTILE[kind]
    body = make()
    with pushing(gateway):
        answer = ask(gateway.port, "PUT", "/metrics/job/bad", body)
    ask(gateway.port, "DELETE", "/metrics/job/bad")
    assert answer.status == status, answer.body[:200]
    assert peak_megabytes(gateway) < MOST_MEGABYTES


@pytest.mark.parametrize("kind", HOSTILE_MESSAGES)
def test_messages_that_hold_too_much_cost_their_bytes(gateway, kind):
    make, status = HOSTILE_MESSAGES[kind]
    body = make()
    with pushing(gateway):
        answer = ask(gateway.port, "PUT", "/metrics/job/bad", body, {"Content-Type": PROTOBUF})
    ask(gateway.port, "DELETE", "/metrics/job/bad")
    assert answer.status == status, answer.body[:200]
    assert peak_megabytes(gateway) < MOST_MEGABYTES


# --- Heads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["X: " + "x" * (2 << 20), "X: y\r\n" * 400_000 + "X: y", "X" * (2 << 20) + ": y"]
)
def test_a_flood_of_headers_is_refused(gateway, line):
    with pushing(gateway):
        answer = send(gateway, f"PUT /metrics/job/bad HTTP/1.1\r\nHost: g\r\n{line}", [ZEROS] * 8)
    assert statuses(answer)[:1] == [431]
    assert peak_megabytes(gateway) < MOST_MEGABYTES


def test_a_long_target_is_refused(gateway):
    with pushing(gateway):
        answer = send(gateway, f"PUT /metrics/job/{'x' * (2 << 20)} HTTP/1.1\r\nHost: g")
    assert statuses(answer)[:1] in ([431], [400])


def test_heads_that_are_never_the_same_are_not_kept():
    """Paths, headers and names that come once must not fill the memory."""
    long, megabytes = "x" * 60_000, []
    with (
        services.pushgate() as service,
        pushing(service),
        closing(
            http.client.HTTPConnection("127.0.0.1", service.port, timeout=TIMEOUT)
        ) as connection,
    ):
        for number in range(5_000 if FULL else 100):
            unique = f"{long}{number}"
            headers = {"Content-Type": unique, "Accept": unique, "X": unique}
            connection.request("DELETE", f"/metrics/job/{unique}", headers=headers)
            connection.getresponse().read()
            connection.request("PUT", f"/metrics/job/bad/odd/{unique}/x", b"m 1\n", headers)
            connection.getresponse().read()
            megabytes.append(peak_megabytes(service))
    assert megabytes[-1] - megabytes[1] < 5  # the heads have 240 kB each


# --- Many ----------------------------------------------------------------------------------------

UNFINISHED = {
    "bytes": "PUT /metrics/job/bad HTTP/1.1\r\nHost: g\r\nX: " + "x" * 1_000_000,
    "lines": "PUT /metrics/job/bad HTTP/1.1\r\nHost: g\r\n" + "X: y\r\n" * 40_000,
    "requests": "GET / HTTP/1.1\r\nHost:\r\n\r\n" * 20_000,
    "pushes": "DELETE /metrics/job/bad HTTP/1.1\r\nHost: g\r\n\r\n" * 10_000,
}


@pytest.mark.parametrize("kind", UNFINISHED)
def test_many_floods_at_the_same_time_have_a_common_limit(kind):
    """A head that never ends, or requests for whose answers nobody waits, on each connection."""
    flood = UNFINISHED[kind].encode()
    with services.pushgate() as service, pushing(service), ExitStack() as stack:
        for _ in range(400 if FULL else 40):
            connection = socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT)
            stack.enter_context(connection)
            connection.settimeout(1)
            with suppress(ConnectionError, TimeoutError):
                connection.sendall(flood)
        assert ask(service.port, "GET", "/-/healthy").status == 200
        assert peak_megabytes(service) < MOST_MEGABYTES


@pytest.mark.parametrize("target", ["/metrics", "/api/v1/metrics", "/"])
def test_clients_that_do_not_read_cost_no_copy_of_the_metrics(target):
    """As long as nothing changes: each keeps the version of the metrics that it began with."""
    body = b"".join(b'm{l="%d%b"} 1\n' % (n, b"x" * 100) for n in range(90_000))
    with services.pushgate() as service, ExitStack() as stack:
        assert ask(service.port, "PUT", "/metrics/job/j", body).status == 200
        for _ in range(100 if FULL else 40):
            stack.enter_context(not_reading(service.port, target))
        assert ask(service.port, "GET", "/-/healthy").status == 200
        time.sleep(2)
        assert ask(service.port, "GET", "/-/healthy").status == 200
        print(f"\nserver peak {peak_megabytes(service):.0f} MB")  # noqa: T201 - as above
        assert peak_megabytes(service) < MOST_MEGABYTES
