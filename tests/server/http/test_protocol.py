"""Connections: the same bytes mean the same however they are cut, and every request is answered."""

import asyncio
import logging
import re
import select
import socket
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from pushgate.server.api import metrics
from tests.examples import few_large_examples
from tests.server.http.connection import Answer, Wire, answers_in, cut, wired


def request(head: str, body: bytes = b"", *fields: str) -> bytes:
    lines = [f"{head} HTTP/1.1", "Host: g", *fields]
    if body and not any(field.startswith("Transfer-Encoding") for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
PUSH = request("PUT /metrics/job/a", b"m 1\n")
SCRAPE = request("GET /metrics")
READY = request("GET /-/ready")
CHUNKS = b"4 \r\nm 7\n\r\n6;x=y\r\nother \r\n2\r\n8\n\r\n0\r\nTrailer: t\r\n\r\n"
INNER_DELETE = request("DELETE /metrics/job/kept")

# name -> bytes, the statuses of the answers, and the jobs that are stored then
STREAMS: dict[str, tuple[bytes, list[int], set[str]]] = {
    "a push": (PUSH, [200], {"a"}),
    "an offer to upgrade": (request("PUT /metrics/job/a", b"vd 1\n", *UPGRADE), [200], {"a"}),
    "an upgrade to websocket": (
        request("GET /metrics", b"", "Connection: upgrade", "Upgrade: websocket") + PUSH,
        [200, 200],
        {"a"},
    ),
    "an upgrade with a request in its body": (
        request("PUT /metrics/job/kept", b"k 1\n")
        + request("PUT /metrics/job/a", INNER_DELETE, *UPGRADE)
        + READY,
        [200, 400, 200],
        {"kept"},
    ),
    "requests behind an upgrade": (
        PUSH + request("POST /metrics/job/a", b"u 2\n", *UPGRADE) + SCRAPE + READY,
        [200, 200, 200, 200],
        {"a"},
    ),
    "a pipeline": (
        PUSH + SCRAPE + PUSH + request("DELETE /metrics/job/a"),
        [200] * 3 + [202],
        set(),
    ),
    "the same push again": (PUSH * 4, [200] * 4, {"a"}),
    "a push whose head begins like that of an empty one": (
        PUSH + request("PUT /metrics/job/a"),
        [200, 200],
        {"a"},
    ),
    "empty lines behind a head of line feeds": (
        PUSH.replace(b"\r\n", b"\n") + PUSH.replace(b"\r\n", b"\n").replace(b"\n\n", b"\n\r\n\r\n"),
        [200, 400, 400],
        {"a"},
    ),
    "chunks": (
        request("PUT /metrics/job/a", CHUNKS, "Transfer-Encoding: chunked") + READY,
        [200, 200],
        {"a"},
    ),
    "a broken request behind a push": (PUSH + b"nonsense\r\n\r\n" + READY, [200, 400], {"a"}),
    "broken chunks": (
        request("PUT /metrics/job/a", b"zz\r\n", "Transfer-Encoding: chunked") + READY,
        [400],
        set(),
    ),
    "line feeds alone": (PUSH.replace(b"\r\n", b"\n") + READY, [200, 200], {"a"}),
    "raw bytes in a path": (
        PUSH.replace(b"/job/a", b"/job/\xc3\xbc#") + READY,
        [200, 200],
        {"ü#"},
    ),
    "HTTP/1.0 that is kept alive": (
        PUSH.replace(b"1.1\r\n", b"1.0\r\nConnection: keep-alive\r\n") * 2 + READY,
        [200, 200, 200],
        {"a"},
    ),
    "a wait to continue": (
        request("PUT /metrics/job/a", b"m 1\n", "Expect: 100-continue") + READY,
        [100, 200, 200],
        {"a"},
    ),
    "a wait to continue that is in vain": (
        request("PUT /nothing", b"m 1\n", "Expect: 100-continue") + READY,
        [404],
        set(),
    ),
    "an absolute target": (
        PUSH.replace(b"/metrics", b"http://other:1/metrics", 1) + READY,
        [200, 200],
        {"a"},
    ),
    "the end of the connection": (
        request("PUT /metrics/job/a", b"m 1\n", "Connection: close") + READY,
        [200],
        {"a"},
    ),
    "a body that nobody reads": (request("GET /-/ready", b"x" * 9) + READY, [200, 200], set()),
    "a body that ends early": (PUSH + PUSH[:-2], [200, 400], {"a"}),
    "a head that ends early": (PUSH + PUSH[:30], [200, 400], {"a"}),
}


async def outcome(wire: Wire, *parts: bytes):
    """Everything that a client sees of *parts*, and what is stored in the end."""
    await wire.wiped()
    answers = await wire.exchanged(*parts)
    return answers, wire.groups()


@pytest.mark.parametrize("name", STREAMS)
def test_bytes_mean_the_same_wherever_they_are_cut(name):
    data, statuses, jobs = STREAMS[name]

    async def check() -> None:
        async with wired() as wire:
            whole = await outcome(wire, data)
            assert [answer.status for answer in whole[0]] == statuses
            assert {group.key.job for group in wire.context.gateway.store.groups()} == jobs
            for position in range(1, len(data)):
                assert await outcome(wire, *cut(data, [position])) == whole, position
            assert await outcome(wire, *cut(data, range(len(data)))) == whole

    asyncio.run(check())


@pytest.fixture(scope="module", params=["in memory", "durable"])
def server(request, tmp_path_factory):
    """A server for all examples, each of which begins by wiping it, and the loop it runs on."""
    folder = tmp_path_factory.mktemp("data")
    file = str(folder / "pushgate.db") if request.param == "durable" else ""
    with asyncio.Runner() as runner:
        served = wired(persistence_file=file)
        yield runner, runner.run(served.__aenter__())
        runner.run(served.__aexit__(None, None, None))


@few_large_examples
@given(data=st.data())
def test_bytes_mean_the_same_in_any_number_of_pieces(server, data):
    runner, wire = server
    names = data.draw(st.lists(st.sampled_from(sorted(STREAMS)), min_size=1, max_size=3))
    stream = b"".join(STREAMS[name][0] for name in names)
    positions = data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=12))
    outcomes = [runner.run(outcome(wire, *parts)) for parts in (cut(stream, positions), [stream])]
    # A body that breaks ends the connection; an answer that came before does not say so.
    in_pieces, whole = ([[*map(unannounced, answers)], stored] for answers, stored in outcomes)
    assert in_pieces == whole


def unannounced(answer: Answer) -> Answer:
    return replace(answer, headers=answer.headers.replace(b"connection: close\r\n", b""))


# --- The end of a connection ---------------------------------------------------------------------


def test_a_refusal_comes_after_the_answers_that_are_still_due(tmp_path):
    async def check() -> None:
        async with wired(persistence_file=str(tmp_path / "pushgate.db")) as wire:
            answers = await wire.exchanged(PUSH + SCRAPE + b"broken\r\n\r\n")
            assert [answer.status for answer in answers] == [200, 200, 400]

    asyncio.run(check())


def test_a_client_that_only_reads_any_more_gets_its_answers():
    async def check() -> None:
        async with wired() as wire, wire.connection() as client:
            await wire.sent(client, PUSH + SCRAPE)
            client.shutdown(socket.SHUT_WR)
            answers = answers_in(await wire.received(client))
            assert [answer.status for answer in answers] == [200, 200]

    asyncio.run(check())


def test_an_empty_line_behind_the_last_request_keeps_no_connection_open():
    async def check() -> None:
        async with wired() as wire, wire.connection() as client:
            client.send(SCRAPE + b"\r\n")
            client.shutdown(socket.SHUT_WR)  # before the answer
            answers = answers_in(await wire.received(client))
            assert [answer.status for answer in answers] == [200]

    asyncio.run(check())


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_push_whose_body_ends_early_is_refused_counted_and_logged(caplog, framing):
    async def check() -> None:
        async with wired() as wire:
            [answer] = await wire.exchanged(request("PUT /metrics/job/a", b"", framing) + b"3\r\n")
            assert (answer.status, answer.body) == (400, b"unexpected EOF\n")
            assert wire.groups() == {}
            telemetry = {
                (sample.name, sample.labels): sample.value
                for family in wire.context.telemetry.families()
                for sample in family.samples
            }
            labels = (("code", "400"), ("handler", "push"), ("method", "put"))
            assert telemetry["pushgateway_http_requests_total", labels] == 1

    with caplog.at_level(logging.WARNING, "pushgate"):
        asyncio.run(check())
    [record] = caplog.records
    assert (record.message, record.err) == ("failed to read body", "unexpected EOF")


@pytest.mark.parametrize(("path", "status"), [("/metrics/job/a", 413), ("/elsewhere", 404)])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_sender_that_reads_only_after_its_body_gets_an_early_refusal(version, path, status):
    """As behind a proxy that speaks HTTP/1.0: closing at once would reset its connection."""
    body = b"#" * (8 << 20)
    head = request(f"PUT {path}", b"", f"Content-Length: {len(body)}")

    async def check() -> None:
        async with wired(limit_body_bytes=1000) as wire, wire.connection() as client:
            await wire.sent(client, head.replace(b"HTTP/1.1", f"HTTP/{version}".encode()), body)
            [answer] = answers_in(await wire.received(client))
            assert answer.status == status

    asyncio.run(check())


def test_the_rest_of_a_small_refused_body_is_no_request():
    body = INNER_DELETE * 100
    refused = request("PUT /metrics/job/a", body)

    async def check() -> None:
        async with wired(limit_body_bytes=1000) as wire:
            answers = await wire.exchanged(refused[:200], refused[200:] + READY)
            assert [answer.status for answer in answers] == [413, 200]

    asyncio.run(check())


def test_many_requests_in_one_segment_are_all_answered():
    async def check() -> None:
        async with wired() as wire:
            answers = await wire.exchanged(PUSH * 500 + READY * 20)
            assert [answer.status for answer in answers] == [200] * 520

    asyncio.run(check())


def test_other_clients_have_a_turn_between_the_requests_of_one():
    async def check() -> None:
        async with wired() as wire, wire.connection() as busy, wire.connection() as other:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(busy, PUSH * 1000)
            await loop.sock_sendall(other, READY)
            await loop.sock_recv(other, 1000)
            answered = len(answers_in(await loop.sock_recv(busy, 1 << 20)))
            assert answered < 1000

    asyncio.run(check())


def test_other_clients_have_a_turn_between_large_heads():
    large = READY.replace(b"Host: g\r\n", b"Host: g\r\nExpect: much\r\nX: %b\r\n" % (b"x" * 9000))

    async def check() -> None:
        async with wired() as wire, AsyncExitStack() as stack:
            loop = asyncio.get_running_loop()
            many = [await stack.enter_async_context(wire.connection()) for _ in range(20)]
            other = await stack.enter_async_context(wire.connection())
            for client in many:
                client.send(large)
            other.send(READY)
            await loop.sock_recv(other, 1000)
            answered, _, _ = select.select(many, [], [], 0)
            assert len(answered) < 20
            for client in many:
                assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 417")

    asyncio.run(check())


@pytest.mark.parametrize(
    ("data", "status", "refused"),
    [
        (SCRAPE + INNER_DELETE * 50_000, 200, 1),
        (request("GET /metrics", b"#" * 200_000) + INNER_DELETE, 200, 0),
        (INNER_DELETE.replace(b"Host: g\r\n", b"Host: g\r\nX: %b\r\n" % (b"x" * 12_000)), 503, 1),
    ],
    ids=["behind a request", "as its body", "as its head"],
)
def test_what_waits_to_be_read_is_dropped_if_all_clients_together_sent_too_much(
    data, status, refused
):
    async def check() -> None:
        async with wired(limit_held_bytes=10_000) as wire:
            await wire.exchanged(PUSH.replace(b"/job/a", b"/job/kept"))
            [answer] = await wire.exchanged(data)
            assert answer.status == status
            assert b"connection: close" in answer.headers
            assert len(wire.groups()) == 1
            assert wire.state.held_bytes == 0
            assert wire.state.telemetry.rejected.total() == refused

    asyncio.run(check())


def test_http_1_0_is_answered_as_such_and_closed_unless_it_asks_otherwise():
    async def check() -> None:
        async with wired() as wire:
            for asked, said in ((b"", False), (b"Connection: keep-alive\r\n", True)):
                async with wire.connection() as client:
                    await wire.sent(client, b"GET /-/ready HTTP/1.0\r\n%b\r\n" % asked)
                    loop = asyncio.get_running_loop()
                    data = await loop.sock_recv(client, 1000)
                    assert data.startswith(b"HTTP/1.0 200 OK\r\n")
                    assert (b"connection: keep-alive\r\n" in data) is said
                    if said:
                        await wire.sent(client, b"GET /-/ready HTTP/1.0\r\n\r\n")
                        assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.0 200")
                    assert await loop.sock_recv(client, 1000) == b""

    asyncio.run(check())


def test_an_answer_of_unknown_length_to_http_1_0_ends_with_the_connection():
    async def check() -> None:
        async with wired() as wire, wire.connection() as client:
            body = b"".join(b'm{l="%d"} 1\n' % number for number in range(3000))
            assert (await wire.exchanged(request("PUT /metrics/job/a", body)))[0].status == 200
            await wire.sent(
                client, b"GET /api/v1/metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
            )
            head, _, content = (await wire.received(client)).partition(b"\r\n\r\n")
            assert b"transfer-encoding" not in head
            assert content.endswith(b"}")

    asyncio.run(check())


def test_the_origin_is_compared_with_an_absolute_target():
    push = PUSH.replace(b"/metrics", b"http://gateway:9091/metrics", 1)

    async def check() -> None:
        async with wired() as wire:
            for origin, status in ((b"http://gateway:9091", 200), (b"http://g", 403)):
                fields = b"Host: g\r\nOrigin: %b\r\n" % origin
                [answer] = await wire.exchanged(push.replace(b"Host: g\r\n", fields))
                assert answer.status == status

    asyncio.run(check())


@pytest.mark.parametrize("target", ["/help", "/static/ui.js"])
def test_nothing_follows_the_head_of_an_answer_that_the_client_has_already(target):
    async def check() -> None:
        async with wired() as wire:
            [first] = await wire.exchanged(request(f"GET {target}", b"", "Connection: close"))
            etag = re.search(rb'etag: ("[^"]*")', first.headers)[1].decode()
            again = request(f"GET {target}", b"", f"If-None-Match: {etag}")
            answers = await wire.exchanged(again + again + READY)
            assert [answer.status for answer in answers] == [304, 304, 200]
            assert b"transfer-encoding" not in answers[0].headers

    asyncio.run(check())


def test_a_response_that_fails_in_the_middle_does_not_look_complete(monkeypatch):
    def half(*_):
        yield b"[" * 100_000
        yield b"[" * 100_000
        raise OSError("no one foresaw this")

    monkeypatch.setattr(metrics, "groups_as_json", half)

    async def check() -> None:
        async with wired() as wire, wire.connection() as client:
            await wire.sent(client, request("GET /api/v1/metrics"))
            received = await wire.received(client)
        assert received.startswith(b"HTTP/1.1 200 ")
        assert not received.endswith(b"0\r\n\r\n")
        assert b"Internal Server Error" not in received

    asyncio.run(check())
