"""A server in this process, and clients that decide how their bytes are cut."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise

from pushgate.server.app import App
from pushgate.server.compose import compose, lock_persistence
from pushgate.server.http.protocol import HttpProtocol, ServerState
from pushgate.server.settings import Settings
from tests.server.pushes import wipe

_ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3}) [^\r]*\r\n((?:[^\r]+\r\n)*)\r\n")
_LENGTH = re.compile(rb"content-length: (\d+)")


@dataclass(frozen=True)
class Answer:
    """An answer without what differs from run to run: its date, and numbers of the process."""

    status: int
    headers: bytes
    body: bytes


def answers_in(data: bytes) -> list[Answer]:
    """The answers that follow each other in *data*."""
    found, at = [], 0
    while at < len(data):
        head = _ANSWER.match(data, at)
        assert head, data[at:]
        length = _LENGTH.search(head[2])
        end = head.end() + (int(length[1]) if length else 0)
        body = data[head.end() : end]
        headers = re.sub(rb"date: [^\r]*\r?\n?", b"", head[2])
        if b"# HELP process_" in body:  # a scrape
            headers = _LENGTH.sub(b"", headers)
            body = b"".join(re.findall(rb"(?m)^\w+\{.*job=.*\} \d+\n", body))
        found.append(Answer(int(head[1]), headers, body))
        at = end
    return found


class Wire:
    """Connections to one server."""

    def __init__(self, server: App) -> None:
        self.context = server.context
        self.state = ServerState(server, server.context)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[socket.socket]:
        """The client's end of a new connection."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: HttpProtocol(self.state), theirs)
            yield ours

    async def received(self, client: socket.socket) -> bytes:
        """All that comes until the server closes."""
        loop = asyncio.get_running_loop()
        data = b""
        # Reset: the server closed without reading what came behind its last request.
        with suppress(ConnectionResetError):
            async with asyncio.timeout(10):
                while piece := await loop.sock_recv(client, 1 << 20):
                    data += piece
        return data

    async def sent(self, client: socket.socket, *parts: bytes) -> None:
        """Send *parts*, each after the server has taken the one before, until it closes."""
        loop = asyncio.get_running_loop()
        for part in parts:
            with suppress(BrokenPipeError):
                await loop.sock_sendall(client, part)
            for _ in range(3):
                await asyncio.sleep(0)

    async def exchanged(self, *parts: bytes) -> list[Answer]:
        """The answers to *parts*, after which the client sends no more."""
        async with self.connection() as client:
            await self.sent(client, *parts)
            client.shutdown(socket.SHUT_WR)
            return answers_in(await self.received(client))

    def groups(self) -> dict[str, list[bytes]]:
        """What is stored: the numbers of each group."""
        return {
            repr(group.key): [block.pushed.numbers for block in group.blocks]
            for group in self.context.gateway.store.groups()
        }

    async def wiped(self) -> None:
        """Delete all groups."""
        await self.context.gateway.apply(wipe(self.context.gateway.store))


@asynccontextmanager
async def wired(**settings: object) -> AsyncIterator[Wire]:
    """Start a server, in memory if *settings* name no persistence file."""
    chosen = Settings(**{"persistence_file": "", **settings})
    server = compose(chosen, lock=lock_persistence(chosen))
    server.context.gateway.start()
    wire = Wire(server)
    yield wire
    for connection in tuple(wire.state.connections):
        connection.abort()
    await asyncio.gather(*wire.state.exchanges, return_exceptions=True)
    await server.context.gateway.close()


def cut(data: bytes, positions: Iterable[int]) -> list[bytes]:
    """*data* in pieces that end at *positions*."""
    bounds = [0, *sorted(positions), len(data)]
    return [data[a:b] for a, b in pairwise(bounds) if a < b]
