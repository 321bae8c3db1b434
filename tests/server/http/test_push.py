"""The service that carries out pushes, called as its two doors call it."""

import asyncio
import gzip
import logging
import threading
from itertools import chain

import pytest
from starlette.types import Message

from pushgate.formats.decoder import PushDecoder
from pushgate.model.grouping import GroupingKey
from pushgate.model.names import NameRule
from pushgate.server.compose import compose
from pushgate.server.http import push as push_module
from pushgate.server.http.push import PushRequest, PushService, push_over_asgi, push_request
from pushgate.server.http.request import parse_head
from pushgate.server.settings import Settings
from pushgate.server.store import gateway as gateway_module


def put(path: bytes = b"/metrics/job/j", length: int = 0, **fields: bytes) -> PushRequest:
    headers = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    if length:
        headers.append((b"content-length", b"%d" % length))
    return push_request("PUT", path, b"", headers)


def pushed(*bodies: tuple[PushRequest, list[bytes]], **settings: object) -> list[tuple[int, str]]:
    """The answers to pushes, one after the other, whose bodies come in pieces."""

    async def answers() -> list[tuple[int, str]]:
        context = compose(Settings(**settings)).context
        context.gateway.start()
        found = []
        for request, pieces in bodies:
            answered = asyncio.get_running_loop().create_future()
            push = context.pushes.start(request, ("client", 1), answered.set_result)
            for piece in pieces:
                push.feed(piece)
            push.finish()
            found.append(await answered)
        await context.gateway.close()
        return [
            (a.status, a.wire((), keep_alive=True).partition(b"\r\n\r\n")[2].decode())
            for a in found
        ]

    return asyncio.run(answers())


def test_a_push_is_answered_when_it_is_stored():
    assert pushed((put(), [b"m ", b"1\n"])) == [(200, "")]


def begin(pushes, number, body, done):
    """Push the whole *body* to a group of its own."""
    push = pushes.start(put(b"/metrics/job/%d" % number), None, done)
    push.feed(body)
    push.finish()


def test_new_bodies_that_become_complete_at_once_are_read_in_turns(monkeypatch):
    monkeypatch.setattr(push_module, "_MAX_SPENT_SECONDS", 0)
    iterations, answered = 0, []
    body = b"".join(b"m%d 1\n" % number for number in range(500)) + b"{"

    async def ten() -> None:
        nonlocal iterations
        pushes = compose(Settings()).context.pushes
        for number in range(10):
            begin(pushes, number, body, lambda answer: answered.append((answer, iterations)))
        while len(answered) < 10:
            await asyncio.sleep(0)
            iterations += 1

    asyncio.run(ten())
    assert [answer.status for answer, _ in answered] == [400] * 10
    assert len({when for _, when in answered}) >= 9  # the first one need not wait


def test_a_body_does_not_wait_because_of_those_of_earlier_iterations(monkeypatch):
    monkeypatch.setattr(push_module, "_MAX_SPENT_SECONDS", 0)
    body = b"".join(b"m%d 1\n" % number for number in range(500)) + b"{"

    async def five() -> list[int]:
        pushes = compose(Settings()).context.pushes
        answered: list[int] = []
        for number in range(5):
            begin(pushes, number, body, lambda answer: answered.append(answer.status))
            assert len(answered) == number + 1
            await asyncio.sleep(0)
        return answered

    assert asyncio.run(five()) == [400] * 5


def test_pushes_that_wait_for_their_turn_to_be_read_are_in_flight(monkeypatch):
    monkeypatch.setattr(push_module, "_MAX_SPENT_SECONDS", 0)
    monkeypatch.setattr(gateway_module, "_SLICE_SECONDS", 10)  # what is read is stored at once
    body = b"".join(b"m%d 1\n" % number for number in range(500))

    async def five() -> list[int]:
        pushes = compose(Settings(limit_pushes_in_flight=3)).context.pushes
        answered: list[int] = []
        for number in range(5):
            begin(pushes, number, body, lambda answer: answered.append(answer.status))
        while len(answered) < 5:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        return answered

    # One is read at once and three wait, so that there is no place for the last.
    assert asyncio.run(five()) == [200, 503, 200, 200, 200]


def test_a_delete_ignores_its_body():
    request = push_request("DELETE", b"/metrics/job/j", b"", [])
    assert pushed((request, [b"x" * 100]), limit_body_bytes=10) == [(202, "")]


@pytest.mark.parametrize(
    ("request_", "pieces", "settings", "status", "said"),
    [
        (put(b"/metrics/job/j/x"), [b""], {}, 400, "odd number of components"),
        (put(), [b"m x\n"], {}, 400, "text format parsing error in line 1"),
        (put(), [b"m 1 17\n"], {}, 400, "must not have timestamps"),
        (put(length=11), [], {"limit_body_bytes": 10}, 413, "--limit.body-bytes"),
        (put(), [b"m 1\n"] * 3, {"limit_body_bytes": 10}, 413, "--limit.body-bytes"),
        (put(), [b"m 1\n"] * 3, {"limit_decompressed_bytes": 10}, 413, "decompressed-bytes"),
        (
            put(content_encoding=b"gzip"),
            [gzip.compress(b"m 1\n" * 3)],
            {"limit_decompressed_bytes": 10},
            413,
            "decompressed-bytes",
        ),
        (
            put(b"/metrics/job/" + b"j" * 1000),
            [b'm{l="1"} 1\nm{l="2"} 1\n'],
            {"limit_decompressed_bytes": 1500},
            413,
            "each of its 2 lines repeats them (--limit.decompressed-bytes)",
        ),
        (put(), [b"#" * 70_000], {"limit_held_bytes": 1000}, 503, "--limit.held-bytes"),
        (put(), [b"#" * 10_000], {"limit_held_bytes": 4999}, 503, "9998 bytes of bodies are held"),
    ],
)
def test_a_refusal_says_why(request_, pieces, settings, status, said):
    [(answered, body)] = pushed((request_, pieces), **settings)
    assert answered == status
    assert said in body


def test_bodies_that_are_no_larger_than_a_head_are_always_let_in():
    small = [b"# " + b"x" * 7000, b"\nm 1\n"]
    assert pushed((put(), small), limit_held_bytes=1000) == [(200, "")]


def test_a_body_that_comes_in_tiny_pieces_is_held_in_larger_ones():
    push = compose(Settings()).context.pushes.start(put(), None, lambda _: None)
    for _ in range(10_000):
        push.feed(b"# ")
    assert b"".join(push.pieces) == b"# " * 10_000
    assert len(push.pieces) <= 20


def test_an_empty_message_at_the_end_of_a_body_in_chunks_is_not_taken_for_all_of_it():
    messages = [{"body": b"m 1\n", "more_body": True}, {"body": b"", "more_body": False}]
    scope = {"method": "PUT", "raw_path": b"/metrics/job/j", "query_string": b"", "headers": []}

    async def receive() -> Message:
        return {"type": "http.request", **messages.pop(0)}

    async def send(_: Message) -> None:
        pass

    async def size() -> float:
        context = compose(Settings(persistence_file="")).context
        await push_over_asgi(context.pushes, {"client": None, **scope}, receive, send)
        samples = chain.from_iterable(family.samples for family in context.telemetry.families())
        return next(s.value for s in samples if s.name == "pushgateway_http_push_size_bytes_sum")

    assert asyncio.run(size()) == len("PUT /metrics/job/j HTTP/1.1".replace(" ", "")) + len("m 1\n")


def test_what_is_held_of_bodies_is_released():
    large = (put(), [b"# " + b"x" * 50_000, b"x" * 50_000 + b"\nm 1\n"])
    assert pushed(*[large] * 5, limit_held_bytes=120_000) == [(200, "")] * 5


class NoMemory(PushDecoder):
    """A decoder for which memory runs out."""

    def read(self, *_: object) -> None:
        raise MemoryError

    def read_quickly(self, body: bytes, *_: object) -> None:
        if len(body) < 100:
            raise MemoryError


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_push_for_which_memory_runs_out_is_503_and_logged(caplog, size):
    async def answer():
        context = compose(Settings()).context
        context.gateway.start()
        pushes = PushService(
            context.settings,
            context.gateway,
            context.expiry,
            context.telemetry,
            NoMemory(NameRule.UTF8),
        )
        answered = asyncio.get_running_loop().create_future()
        push = pushes.start(put(), None, answered.set_result)
        push.feed(b"x" * size)
        push.finish()
        return await answered

    with caplog.at_level(logging.ERROR, "pushgate"):
        answered = asyncio.run(answer())
    assert answered.status == 503
    assert (b"retry-after", b"5") in answered.headers
    assert [record.message for record in caplog.records] == ["push failed"]


def test_large_bodies_are_read_in_the_same_two_threads_whatever_other_threads_do(monkeypatch):
    threads = set()
    read = PushDecoder.read

    def noted(*arguments: object) -> object:
        threads.add(threading.get_ident())
        return read(*arguments)

    monkeypatch.setattr(PushDecoder, "read", noted)

    async def four() -> None:
        context = compose(Settings()).context
        context.gateway.start()
        end = threading.Event()
        async with asyncio.TaskGroup() as others:
            for _ in range(4):
                answered = asyncio.get_running_loop().create_future()
                push = context.pushes.start(put(), None, answered.set_result)
                push.feed(b"# " + b"x" * 100_000 + b"\nm 1\n")
                push.finish()
                assert (await answered).status == 200
                others.create_task(asyncio.to_thread(end.wait))
            end.set()
        await context.gateway.close()

    asyncio.run(four())
    assert len(threads) <= 2


def test_a_refused_push_writes_one_bounded_line(caplog):
    body = b"".join(b"# TYPE m%d counter\nm%d 1 17\n" % (n, n) for n in range(2000))
    with caplog.at_level(logging.ERROR, "pushgate"):
        pushed((put(), [body]))
    [record] = caplog.records
    assert len(record.err) <= 1000


def test_paths_and_heads_are_remembered_for_as_many_groups_as_there_are():
    pushes = compose(Settings()).context.pushes
    first = put(b"/metrics/job/0")
    pushes.remember(b"head 0", first)
    assert pushes.known(b"head 0") is first
    for number in range(1, 1001):
        pushes.remember(b"head %d" % number, first)
        assert pushes.group(b"/metrics/job/%d" % number) == GroupingKey([("job", str(number))])
    assert pushes.known(b"head 0") is None
    pushes.remember(b"x" * 2000, first)
    assert pushes.known(b"x" * 2000) is None


@pytest.mark.parametrize("name", [b"Idempotency-Key", b"idempotency-key"])
@pytest.mark.parametrize("key", [b"k", b"other key", b"k" * 300])
def test_heads_with_other_idempotency_keys_are_known(name, key):
    def sent(key: bytes) -> bytes:
        return b"POST /metrics/job/a HTTP/1.1\r\nHost: h\r\n%b: %b \r\nX: y" % (name, key)

    def parsed(head: bytes) -> PushRequest:
        request = parse_head(head + b"\r\n")
        return push_request(request.method, request.path, request.query, request.headers)

    pushes = compose(Settings()).context.pushes
    pushes.remember(sent(b"first"), parsed(sent(b"first")))
    assert pushes.known(sent(key)) == parsed(sent(key))
    assert pushes.known(sent(key + b"\x00")) is None
    assert pushes.known(sent(key) + b"z") is None
