"""Long work of many requests leaves the event loop to others after each slice."""

import asyncio

from pushgate.server.http.slices import next_slice, queue_slice


def test_each_iteration_of_the_loop_runs_one_slice_however_many_are_queued():
    async def check() -> None:
        served = []

        def busy(name: str) -> None:
            served.append(name)
            queue_slice(lambda: busy(name))

        for name in "abc":
            queue_slice(lambda name=name: busy(name))
        for iterations in range(1, 8):
            await asyncio.sleep(0)
            assert served == [*"abcabca"[:iterations]]

    asyncio.run(check())


def test_tasks_go_on_one_after_the_other():
    async def check() -> None:
        served = []

        async def task(name: str) -> None:
            for _ in range(3):
                await next_slice()
                served.append(name)

        await asyncio.gather(task("a"), task("b"))
        assert served == [*"ababab"]

    asyncio.run(check())


def test_a_cancelled_task_holds_up_nobody():
    async def check() -> None:
        cancelled = asyncio.ensure_future(next_slice())
        await asyncio.sleep(0)
        cancelled.cancel()
        async with asyncio.timeout(10):
            await next_slice()
        assert cancelled.cancelled()

    asyncio.run(check())
