"""Differential fuzzing below the pushes: the same bytes to Pushgate and to the Go Pushgateway.

Sends streams of requests, well-formed ones and ones with bytes changed, repeated or missing, in
heads, chunks and between requests. Compared are how many requests each server saw, the status of
each answer, whether the connection was kept, and what is stored afterwards.
"""

import json
import random
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from tests.services import Service

LINES = [
    b"PUT /metrics/job/a HTTP/1.1",
    b"POST /metrics/job/b/x/y HTTP/1.1",
    b"PUT /metrics/job/a/x/%2e HTTP/1.0",
    b"DELETE /metrics/job/a HTTP/1.1",
    b"GET /-/ready HTTP/1.1",
    b"PUT http://g:80/metrics/job/c HTTP/1.1",
    b"PUT /nothing/here HTTP/1.1",
]
FIELDS = [
    b"Connection: keep-alive",
    b"Connection: close",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c",
    b"Connection: te, Close",
    b"Expect: 100-continue",
    b"Expect: 100-continue, x",
    b"Expect: nothing",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding : chunked",
    b"Content-Length: 6",
    b"Content-Length: 8",
    b"Content-Length: +6",
    b"Content-Length: 0006",
    b"Host: other",
    b"Host:",
    b"X-Long: " + b"x" * 9000,
    b"X: \xe4\t",
    b"Content-Type: text/plain",
]
SPLICES = [
    *(bytes([byte]) for byte in b"\0\t\n\r ;:,/?%#+-0aZ\x0b\x7f\x80\xff"),
    *(b"\r\n", b"\n\n", b"\r\r\n", b"\r\n ", b"%zz", b"0\r\n\r\n", b"HTTP/1.1", b"4\r\n"),
]
CHUNK_SIZES = [b"%x", b"%X", b"0%x", b"%x ", b"%x;a=b", b'%x;a="\n"', b"%x;\r", b" %x", b"0x%x"]
# Blanks are last: what is left of a body that is longer than it should be is no empty line.
BODIES = [b"m 1\n   ", b"m 1\nn 2\n   ", b"", b"nonsense ", b'm{x="' + b"y" * 3000 + b'"} 1\n   ']
LAST = b"GET /-/ready HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"

# What Pushgate reads otherwise on purpose, by the row of docs/compatibility.md.
_REST = rb"[^\n]*(?:\n[^\r\n]+\r?)*\n"  # of a line, and more lines of a head
KNOWN = {
    "D22 repeated length": rb"(?i)content-length:%b(?:content-length|transfer-enc)" % _REST,
    "D22 length and chunks": rb"(?i)transfer-encoding:%bcontent-length" % _REST,
    "D22 folded": rb":[^\n]*\n[ \t]",
    "D22 chunks in HTTP/1.0": rb"(?i)HTTP/1\.0%btransfer-encoding" % _REST,
    "D22 target": rb"[A-Z]+ (?![/ ]|[a-z]+://)",
    "D22 empty lines": rb"(?:\A|(?:\n\r?){2}| )[\r\n]+[A-Z]+ ",
    "D22 trailers": rb"\n0+[^\n]*\n(?!\r\n|X: y\r\n\r\n)",
    "D22 closed": rb"(?i)HTTP/1\.0%bConnection: [^\n]*close" % _REST,
    "D24": rb"[A-Z] [^ ]*(?:#|//|/\.\.?[/ ?]|/[? ])",
    "D28": rb"(?i)DELETE%b(?:expect: 100|transfer-encoding)" % _REST,
    "L1": rb"[mn] [12]\r",
    "P1": rb"/(?:[^ ]*[\x80-\xff]|[^ ]*%[89a-f])",
}
_known = {name: re.compile(pattern) for name, pattern in KNOWN.items()}
_answer = re.compile(rb"HTTP/1\.[01] (\d{3}) ?[^\r]*\r\n((?:[^\r]+\r\n)*)\r\n")
_length = re.compile(rb"(?i)content-length: (\d+)")


class Outcome(NamedTuple):
    """What a client sees of a stream."""

    statuses: tuple[int, ...]
    is_closed: bool
    stored: str


def stream(seed: object) -> bytes:
    """Requests behind each other, some of them damaged."""
    choices = random.Random(str(seed))
    requests = [_request(choices) for _ in range(choices.choice([1, 1, 1, 2, 3]))]
    data = b"".join(requests)
    for _ in range(choices.choice([0, 0, 0, 1, 1, 2])):
        data = _damaged(data, choices)
    return data + LAST


def _request(choices: random.Random) -> bytes:
    body = choices.choice(BODIES)
    fields = [b"Host: g", *choices.sample(FIELDS, choices.choice([0, 0, 1, 1, 2]))]
    if any(field.lower().startswith(b"transfer-encoding") for field in fields):
        body = _chunks(body, choices)
    elif choices.random() < 0.9 and not any(b"Content-Length" in field for field in fields):
        fields.append(b"Content-Length: %d" % len(body))
    choices.shuffle(fields)
    end = choices.choice([b"\r\n"] * 9 + [b"\n"])
    return end.join([choices.choice(LINES), *fields, b"", b""]) + body


def _chunks(body: bytes, choices: random.Random) -> bytes:
    pieces = [body[:2], body[2:]] if choices.random() < 0.5 else [body]
    odd = choices.random() < 0.5
    chunks = b""
    for piece in filter(None, pieces):
        chunks += (choices.choice(CHUNK_SIZES) if odd else b"%x") % len(piece)
        chunks += b"\r\n" + piece + b"\r\n"
    return chunks + b"0\r\n" + choices.choice([b"", b"", b"X: y\r\n"]) + b"\r\n"


def _damaged(data: bytes, choices: random.Random) -> bytes:
    at = choices.randrange(len(data) + 1)
    if choices.random() < 0.6:
        return data[:at] + choices.choice(SPLICES) + data[at + choices.choice([0, 0, 1]) :]
    end = at + choices.choice([1, 2, 5, 20])
    return data[:at] + (b"" if choices.random() < 0.5 else data[at:end] * 2) + data[end:]


def known(data: bytes) -> str | None:
    """The deliberate difference that *data* may run into, if any."""
    return next((name for name, finds in _known.items() if finds.search(data)), None)


def outcome(server: Service, data: bytes, *, pause: float = 0.3) -> Outcome:
    """Send *data* to *server*, whose store is empty then and afterwards."""
    received, is_closed = _exchanged(server.port, data, pause)
    groups = json.loads(server.get("/api/v1/metrics"))["data"]
    stored = sorted(
        repr((group["labels"], sorted(name for name in group if "seconds" not in name)))
        for group in groups
    )
    wipe = b"PUT /api/v1/admin/wipe HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"
    _exchanged(server.port, wipe, 5)
    # Of a head with several faults, either server names the first that it looks for.
    statuses = (400 if status in {501, 505} else status for status in _statuses(received))
    return Outcome(tuple(statuses), is_closed, "\n".join(stored))


def _exchanged(port: int, data: bytes, pause: float) -> tuple[bytes, bool]:
    """All that comes for *data*, and whether the server closed, or said nothing for a *pause*."""
    received = b""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(pause)
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(data)
        try:
            while piece := client.recv(1 << 16):
                received += piece
        except TimeoutError:
            return received, False
        except ConnectionResetError:
            pass
    return received, True


def _statuses(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        head = _answer.match(data, at)
        if head is None:
            raise ValueError(f"no answer begins with {data[at : at + 60]!r}")
        yield int(head[1])
        at = head.end()
        if b"chunked" in head[2].lower():
            at = data.index(b"0\r\n\r\n", at) + 5
        elif length := _length.search(head[2]):
            at += int(length[1])
        elif head[1] != b"100":
            return  # it ends with the connection
