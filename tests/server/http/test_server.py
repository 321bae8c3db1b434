"""The server on real sockets: how it starts, and how it ends the connections that it has."""

import asyncio
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from pushgate.server.compose import compose
from pushgate.server.http.server import HttpServer
from pushgate.server.settings import Settings
from pushgate.server.sockets import listen
from tests.server.access.certificates import Pki

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"
READY = b"GET /-/ready HTTP/1.1\r\nHost: g\r\n\r\n"
UNFINISHED = (
    b"PUT /metrics/job/a HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def status(self, request: bytes = b"") -> int:
        """Send *request* and return the status of the next answer."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1])

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def serving(
    number: int = 1, web_config: Path | None = None, **settings: int
) -> AsyncIterator[tuple[HttpServer, list[Client]]]:
    """A server with *number* listeners and a client of each."""
    config = str(web_config) if web_config else ""
    server = compose(Settings(persistence_file="", web_config_file=config, **settings))
    server.context.gateway.start()
    listeners = listen(["127.0.0.1:0"] * number)
    http = HttpServer(server, server.context)
    await http.start(listeners)
    clients = [
        Client(*await asyncio.open_connection(*listener.getsockname())) for listener in listeners
    ]
    try:
        async with asyncio.timeout(20):
            yield http, clients
    finally:
        for client in clients:
            client.writer.close()
        await http.stop(0)
        await server.context.gateway.close()
        for listener in listeners:
            listener.close()


def with_tls(pki: Pki) -> Path:
    """Return a web configuration with a certificate."""
    pair = pki.issue("server", "127.0.0.1")
    config = pki.directory / "web.yml"
    config.write_text(
        f"tls_server_config: {{cert_file: {pair.certificate}, key_file: {pair.key}}}\n"
    )
    return config


def test_every_listener_is_served():
    async def check() -> None:
        async with serving(3) as (_, clients):
            assert [await client.status(READY) for client in clients] == [200] * 3

    asyncio.run(check())


def test_idle_connections_are_closed_at_the_stop():
    async def check() -> None:
        async with serving() as (http, [client]):
            assert await client.status(READY) == 200
            await http.stop(20)
            assert await client.rest() == b"OK"

    asyncio.run(check())


def test_a_request_under_way_is_answered_before_the_stop_ends():
    async def check() -> None:
        async with serving() as (http, [client]):
            assert await client.status(UNFINISHED) == 100
            stopping = asyncio.create_task(http.stop(20))
            assert await client.status(b"m 1\n") == 200
            await stopping
            assert await client.rest() == b""

    asyncio.run(check())


def test_a_handshake_under_way_is_finished_before_the_stop_and_its_request_answered(tmp_path):
    pki = Pki(tmp_path)

    async def check() -> None:
        async with serving(web_config=with_tls(pki)) as (http, [client]):
            stopping = asyncio.create_task(http.stop(20))
            await asyncio.sleep(0.1)
            assert not stopping.done()
            trusting = ssl.create_default_context(cafile=pki.ca_file)
            await client.writer.start_tls(trusting, server_hostname="127.0.0.1")
            assert await client.status(READY) == 200
            await stopping

    asyncio.run(check())


def test_a_handshake_that_never_begins_holds_no_stop_up(tmp_path):
    async def check() -> None:
        async with serving(web_config=with_tls(Pki(tmp_path))) as (http, _):
            await http.stop(1000)  # or the time of this server is over

    asyncio.run(check())


def test_connections_are_limited_before_their_handshakes_end(tmp_path):
    pki = Pki(tmp_path)

    async def check() -> None:
        async with serving(web_config=with_tls(pki), limit_connections=1) as (http, [silent]):
            address = silent.writer.get_extra_info("peername")
            refused = Client(*await asyncio.open_connection(*address))
            assert await refused.rest() == b""
            refused.writer.close()
            silent.writer.close()
            while http._state.handshakes:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
            trusting = ssl.create_default_context(cafile=pki.ca_file)
            admitted = Client(*await asyncio.open_connection(*address, ssl=trusting))
            assert await admitted.status(SCRAPE) == 200
            assert b'rejected_pushes_total{reason="connections"} 1\n' in await admitted.rest()
            admitted.writer.close()

    uvloop.run(check())  # asyncio forgets a failed handshake only with the garbage


def test_what_is_not_done_in_time_is_broken_off():
    async def check() -> None:
        async with serving() as (http, [client]):
            assert await client.status(UNFINISHED) == 100
            await http.stop(0)
            assert await client.rest() == b""

    asyncio.run(check())


def test_a_stop_can_be_told_not_to_wait_any_longer():
    async def check() -> None:
        async with serving() as (http, [client]):
            assert await client.status(UNFINISHED) == 100
            at_once = asyncio.Event()
            stopping = asyncio.create_task(http.stop(1000, at_once))
            await asyncio.sleep(0)
            at_once.set()
            await stopping
            assert await client.rest() == b""

    asyncio.run(check())


def test_after_the_stop_nobody_is_let_in():
    async def check() -> None:
        async with serving() as (http, [client]):
            address = client.writer.get_extra_info("peername")
            await http.stop(0)
            with socket.socket() as late:
                late.settimeout(1)
                assert late.connect_ex(address) != 0 or late.recv(1) == b""

    asyncio.run(check())


def test_connections_are_limited_by_the_files_that_the_process_may_open():
    async def check() -> None:
        async with serving() as (http, _):
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            assert 0 < http._state.max_connections["open-files"] < soft

    asyncio.run(check())
