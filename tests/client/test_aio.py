"""The gateway for asyncio: cancellation, turns, jobs and periodic pushes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Gauge

from pushgate import (
    AsyncPushGateway,
    PushRejectedError,
    PushTimeoutError,
    Retry,
)
from tests.client.rogue import (
    answer,
    answer_when_released,
    raw_answer,
    read_request,
    rogue,
    stall,
    statuses,
)
from tests.client.shared import Counted, Odd, gauge_values, values
from tests.waiting import until


async def begun(gateway, server):
    """A push that the gateway has begun to read."""
    task = asyncio.create_task(gateway.push())
    await asyncio.to_thread(server.asked.wait)
    return task


@pytest.mark.anyio
async def test_leaving_the_block_does_not_cut_off_the_push_of_another_task(registry, anyio_backend):
    with rogue(answer_when_released) as server:
        gateway = AsyncPushGateway(server.url, registry=registry, retry=0, properties=False)
        async with gateway:
            pass
        task = await begun(gateway, server)
        async with gateway:
            pass
        server.released.set()
        assert (await task).status == 200


def test_threads_with_loops_of_their_own_do_not_share_a_connection(registry):
    def refuse_while_the_other_pushes(connection, server):
        read_request(connection, server)
        until(lambda: len(server.seen) == 2, reason="the other thread does not push")
        connection.sendall(raw_answer(503, b"", {}))

    with rogue(refuse_while_the_other_pushes, answer_when_released, answer()) as server:
        retry = Retry(attempts=2, base=0)
        gateway = AsyncPushGateway(server.url, registry=registry, retry=retry, properties=False)

        async def push():
            return (await gateway.push()).status

        with ThreadPoolExecutor() as threads:
            one = threads.submit(asyncio.run, push())
            server.asked.wait()
            other = threads.submit(asyncio.run, push())
            assert one.result() == 200
            assert not other.done()
            server.released.set()
            assert other.result() == 200


@pytest.mark.anyio
async def test_cancelling_a_push_ends_it(registry, anyio_backend):
    with rogue(stall) as server:
        gateway = AsyncPushGateway(server.url, job="j", registry=registry, properties=False)
        task = await begun(gateway, server)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.anyio
async def test_the_connection_serves_again_after_a_cancelled_push(registry, anyio_backend):
    with rogue(stall, answer()) as server:
        async with AsyncPushGateway(server.url, registry=registry, properties=False) as gateway:
            task = await begun(gateway, server)
            task.cancel()
            await asyncio.wait([task])
            assert (await gateway.push()).status == 200


@pytest.mark.anyio
async def test_asyncio_waits_for_its_turn_no_longer_than_the_deadline(registry, anyio_backend):
    with rogue(stall) as server:
        gateway = AsyncPushGateway(server.url, job="j", registry=registry, properties=False)
        task = await begun(gateway, server)
        with pytest.raises(PushTimeoutError, match="another push"):
            await gateway.push(deadline=0.05)
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.anyio
async def test_a_large_registry_is_encoded_beside_the_event_loop(anyio_backend):
    registry = CollectorRegistry()
    Gauge("big", "x" * (1 << 20), registry=registry)
    with rogue() as server:
        async with AsyncPushGateway(server.url, registry=registry, properties=False) as gateway:
            await gateway.push()
            result = await gateway.push()
    assert result.bytes_sent > 1 << 20


@pytest.mark.anyio
async def test_an_async_client_of_the_user_is_used(registry, anyio_backend):
    with rogue() as server:
        async with httpx2.AsyncClient(headers={"X-Mine": "yes"}) as client:
            gateway = AsyncPushGateway(server.url, registry=registry, http_client=client)
            await gateway.push()
    assert server.seen[0].headers["x-mine"] == "yes"


@pytest.mark.anyio
async def test_an_async_transport_of_the_user_is_used(registry, anyio_backend):
    async def play(request):
        await asyncio.sleep(0)
        return httpx2.Response(400, text=f"{request.method} says no")

    transport = httpx2.MockTransport(play)
    gateway = AsyncPushGateway("h:1", registry=registry, transport=transport, properties=False)
    with pytest.raises(PushRejectedError, match="PUT says no"):
        await gateway.push()


@pytest.mark.anyio
async def test_a_retry_never_overwrites_a_newer_push_of_another_task(anyio_backend):
    rows = Gauge("rows", "", registry=None)
    rows.set(1)
    with rogue(*statuses(503, 503), answer()) as server:
        retry = Retry(base=0.2)
        gateway = AsyncPushGateway(server.url, registry=rows, retry=retry, properties=False)
        older = await begun(gateway, server)
        rows.set(2)
        await gateway.push()
        await older
    assert gauge_values(server) == [1, 1, 1, 2]


@pytest.mark.parametrize("times", [1, 2])
def test_a_job_that_is_cancelled_has_failed_and_says_so(times):
    async def main(server):
        async def work():
            async with AsyncPushGateway(server.url, properties=False).job_run("c"):
                await asyncio.sleep(30)

        task = asyncio.create_task(work())
        for _ in range(times):
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.asked.wait, 10)

    with rogue(answer(202)) as server:
        asyncio.run(main(server))
    assert values(server.seen[0])["batch_job_success"] == 0


def test_an_asyncio_job_pushes_the_rest_too(caplog):
    async def main(server):
        async with AsyncPushGateway(server.url, properties=False).job_run("a", include=[Odd()]):
            pass

    with rogue() as server:
        asyncio.run(main(server))
    assert values(server.seen[0])["batch_job_success"] == 1
    assert "odd_summary" in caplog.text


def test_an_ignored_exception_is_no_outcome_for_asyncio():
    async def main(server):
        async with AsyncPushGateway(server.url, properties=False).job_run("t", ignore=[EOFError]):
            raise EOFError

    with rogue() as server, pytest.raises(EOFError):
        asyncio.run(main(server))
    assert server.seen == []


@pytest.mark.anyio
async def test_it_pushes_from_a_task(anyio_backend):
    counted = Counted(3)
    with rogue() as server:
        gateway = AsyncPushGateway(server.url, job="j", registry=counted, properties=False)
        async with gateway.periodic(0.01, final="delete") as pusher:
            assert await asyncio.to_thread(counted.enough.wait, 10)
        assert server.seen[-1].method == "DELETE"
    assert pusher.last_success is not None
