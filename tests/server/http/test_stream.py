import asyncio
import threading
import time
from itertools import groupby

import pytest

from pushgate.server.http import stream as stream_module
from pushgate.server.http.stream import Stream, in_steps, in_thread


def sent(pieces) -> list[dict]:
    """The messages of an answer that is made of *pieces*."""
    messages = []

    async def send(message):
        messages.append(message)

    asyncio.run(Stream(pieces, [(b"a", b"b")])({}, None, send))
    return messages


def test_a_short_answer_has_a_length():
    start, body = sent([b"ab", b"", b"c"])
    assert start["headers"] == ((b"a", b"b"), (b"content-length", b"3"))
    assert (body["body"], body.get("more_body", False)) == (b"abc", False)


def test_an_answer_may_be_empty():
    start, body = sent([])
    assert (start["status"], body["body"]) == (200, b"")


def test_a_long_answer_comes_in_chunks_of_more_than_64_kib():
    start, *bodies = sent([b"x" * 1000] * 200)
    assert start == {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}
    assert [len(body["body"]) for body in bodies] == [66_000, 66_000, 66_000, 2000, 0]
    assert [body.get("more_body", False) for body in bodies] == [True, True, True, True, False]


def test_what_fails_at_first_sends_nothing():
    def failing():
        yield b"x"
        raise MemoryError

    messages = []

    async def answered():
        async def send(message):
            messages.append(message)

        try:
            await Stream(failing(), ())({}, None, send)
        except MemoryError:
            return "failed"

    assert asyncio.run(answered()) == "failed"
    assert messages == []


def test_others_run_between_the_steps_of_work(monkeypatch):
    monkeypatch.setattr(stream_module, "SLICE_SECONDS", 0.001)
    log = []

    def work():
        for step in range(3):
            log.append(step)
            time.sleep(0.002)
            yield
        return "done"

    async def other():
        while 2 not in log:
            log.append("other")
            await asyncio.sleep(0)

    async def both():
        return await asyncio.gather(in_steps(work()), other())

    assert asyncio.run(both()) == ["done", None]
    assert [entry for entry, _ in groupby(log)][:5] == [0, "other", 1, "other", 2]


def test_others_run_during_a_step_that_waits_in_its_thread():
    others = threading.Event()

    def work():
        assert others.wait(10)
        yield
        return "done"

    async def other():
        others.set()

    async def both():
        return await asyncio.gather(in_thread(work()), other())

    assert asyncio.run(both()) == ["done", None]


def test_an_error_of_work_in_its_thread_reaches_who_waits():
    def work():
        yield
        raise MemoryError

    with pytest.raises(MemoryError):
        asyncio.run(in_thread(work()))
