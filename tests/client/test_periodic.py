import asyncio
import logging
import threading

import pytest

from pushgate import AsyncPushGateway, ConfigurationError, PushGateway
from tests.client.rogue import answer, rogue


class Counted:
    """A collector that tells when it has been asked so often."""

    def __init__(self, times):
        self.left = times
        self.enough = threading.Event()

    def collect(self):
        self.left -= 1
        if self.left <= 0:
            self.enough.set()
        return []


@pytest.mark.parametrize(("final", "method"), [("push", "PUT"), ("delete", "DELETE"), (None, None)])
def test_it_pushes_until_the_block_ends(final, method):
    counted = Counted(3)
    with rogue() as server:
        gateway = PushGateway(server.url, job="j", registry=counted, properties=False)
        with gateway.periodic(0.01, final=final) as pusher:
            assert counted.enough.wait(10)
        methods = [request.method for request in server.seen]
    assert len(methods) >= 3
    assert methods[-1] == (method or "PUT")
    assert pusher.last_success is not None
    assert pusher.consecutive_failures == 0


@pytest.mark.anyio
async def test_it_pushes_from_a_task(anyio_backend):
    counted = Counted(3)
    with rogue() as server:
        gateway = AsyncPushGateway(server.url, job="j", registry=counted, properties=False)
        async with gateway.periodic(0.01, final="delete") as pusher:
            assert await asyncio.to_thread(counted.enough.wait, 10)
        assert server.seen[-1].method == "DELETE"
    assert pusher.last_success is not None


def test_errors_do_not_stop_it_and_are_not_repeated(caplog):
    caplog.set_level(logging.INFO, "pushgate.client")
    counted = Counted(4)
    with rogue(answer(400), answer(400), answer(200)) as server:
        gateway = PushGateway(server.url, job="j", registry=counted, properties=False)
        with gateway.periodic(0.01):
            assert counted.enough.wait(10)
    messages = [record.message for record in caplog.records if "period" in record.message]
    assert len(messages) == 1
    assert "pushing works again after 2 failures" in caplog.text


@pytest.mark.parametrize(("interval", "jitter"), [(0, 0.1), (-1, 0.1), (1, 1.5)])
def test_impossible_intervals_are_refused(interval, jitter):
    with pytest.raises(ConfigurationError):
        PushGateway(properties=False).periodic(interval, jitter=jitter)
