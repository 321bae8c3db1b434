"""Requests to a server under test, over a socket of their own."""

import http.client
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

TIMEOUT = 15


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]


def ask(
    port: int,
    method: str,
    target: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One request; *target* is sent as it stands. OSError if the server lets nobody in."""
    connection = (
        http.client.HTTPSConnection("localhost", port, timeout=TIMEOUT, context=tls)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    )
    with closing(connection):
        connection.request(method, target, body, {"Connection": "close", **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


def exchanged(port: int, data: bytes) -> bytes:
    """What the server sends back for *data* until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def not_reading(port: int, target: str) -> socket.socket:
    """A connection that asked for *target*, and reads nothing of the answer."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: g\r\n\r\n".encode())
    return connection


def methods(allow: str | None) -> set[str]:
    """The methods of an ``Allow`` header; HEAD and OPTIONS may be there or not."""
    return {name.strip() for name in (allow or "").split(",")} - {"HEAD", "OPTIONS", ""}


def statuses(answers: bytes) -> list[int]:
    """The status codes of the answers that follow each other in *answers*."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answers)]
