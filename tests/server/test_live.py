import asyncio
from pathlib import Path

import pytest

from pushgate.server.live import LiveFiles


class Broken(LiveFiles):
    """Fails once, with an error that is not foreseen."""

    def __init__(self) -> None:
        super().__init__((Path("web.yml"),))
        self.reloads = 0
        self.has_failed = asyncio.Event()

    async def _reload(self) -> bool:
        self.reloads += 1
        if self.reloads == 1:
            self.has_failed.set()
            raise ZeroDivisionError
        return True


@pytest.mark.anyio
async def test_an_unforeseen_error_does_not_end_the_watch(caplog):
    live = Broken()
    told = asyncio.Event()
    watch = asyncio.create_task(live.watch(told.set))
    live.request_reload()
    await asyncio.wait_for(live.has_failed.wait(), 10)
    live.request_reload()
    await asyncio.wait_for(told.wait(), 10)
    assert [record.getMessage() for record in caplog.records] == ["could not reload"]
    assert live.reloads == 2
    watch.cancel()
