import asyncio
import logging

import pytest

from pushgate.server.http.slow_readers import SlowReaders


async def reader(readers: SlowReaders, version: str, size: int) -> None:
    """A client that never finishes reading."""
    with readers.reading(version, size):
        await asyncio.Event().wait()


async def started(readers: SlowReaders, *versions: str, size: int = 40) -> list[asyncio.Task]:
    tasks = []
    for version in versions:
        tasks.append(asyncio.create_task(reader(readers, version, size)))
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def test_readers_of_the_oldest_versions_are_cut_off(caplog):
    async def check() -> None:
        tasks = await started(SlowReaders(100), "a", "a", "b", "c", "d")
        assert [task.done() for task in tasks] == [True, True, False, False, False]
        for task in tasks:
            task.cancel()

    with caplog.at_level(logging.WARNING, "pushgate"):
        asyncio.run(check())
    [record] = caplog.records
    assert record.clients == 2


@pytest.mark.parametrize("max_bytes", [0, 1])
def test_the_newest_version_may_always_be_read_and_zero_is_no_limit(max_bytes):
    async def check() -> None:
        versions = "abc" if max_bytes == 0 else "a"
        tasks = await started(SlowReaders(max_bytes), *versions, *versions)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()

    asyncio.run(check())


def test_a_version_that_was_read_counts_no_more():
    async def check() -> None:
        readers = SlowReaders(50)
        with readers.reading("a", 40):
            pass
        with readers.reading("b", 40):
            tasks = await started(readers, "c")
        tasks += await started(readers, "d")
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()

    asyncio.run(check())


def test_readers_of_pieces_that_nobody_shares_count_each_for_itself():
    async def read(readers: SlowReaders) -> None:
        for _ in readers.holding(iter([b"a", b"b"]), 40):
            await asyncio.Event().wait()

    async def check() -> None:
        readers = SlowReaders(50)
        tasks = []
        for _ in range(3):
            tasks.append(asyncio.create_task(read(readers)))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [task.done() for task in tasks] == [True, False, False]
        for task in tasks:
            task.cancel()

    asyncio.run(check())
