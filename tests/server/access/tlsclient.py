"""A tiny TLS server around a context of ours, and blocking clients for it."""

import asyncio
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from tests.server.access.certificates import Pair

TIMEOUT = 10


@asynccontextmanager
async def echo_server(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Answer every line with the same line; yield the port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context, ssl_handshake_timeout=5)
    async with server:
        yield server.sockets[0].getsockname()[1]


def client_context(
    ca: Path,
    pair: Pair | None = None,
    *,
    highest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str = "",
    curve: str = "",
) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    if pair:
        context.load_cert_chain(pair.certificate, pair.key)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = min(highest, ssl.TLSVersion.TLSv1_2)
        context.maximum_version = highest
    if ciphers:
        context.set_ciphers(ciphers)
    if curve:
        context.set_ecdh_curve(curve)
    return context


class Client:
    """A connection, its handshake done; every method blocks."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        try:
            self.socket = context.wrap_socket(raw, server_hostname="localhost")
        except BaseException:
            raw.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, line: bytes) -> bytes:
        """Return the answer to *line*; empty when the server has hung up."""
        self.socket.sendall(line)
        return self.socket.recv(1000)


def talk(port: int, context: ssl.SSLContext) -> bytes:
    """Return what the server answers to a line; raise OSError when it lets nobody in."""
    with Client(port, context) as client:
        return client.say(b"hello\n")


def plain(port: int, request: bytes) -> bytes:
    """Return all that the server answers to *request* without TLS, up to the first pause."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
        connection.sendall(request)
        return connection.recv(1000)
