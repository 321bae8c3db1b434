"""Shares the event loop between long tasks: one slice of work in each iteration.

If each of a hundred requests ran for two milliseconds in every iteration of the loop, a new
client would wait for all of them. So the slices of all requests form one queue for each loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

SLICE_SECONDS = 0.002
"""How long one request may keep the event loop before the others have a turn."""

_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, deque[Callable[[], None]]] = (
    WeakKeyDictionary()
)


def queue_slice(work: Callable[[], None]) -> None:
    """Call *work* after everything queued before it, one call in each iteration of the loop."""
    loop = asyncio.get_running_loop()
    queue = _queues.setdefault(loop, deque())
    queue.append(work)
    if len(queue) == 1:
        loop.call_soon(_run_next, loop, queue)


def _run_next(loop: asyncio.AbstractEventLoop, queue: deque[Callable[[], None]]) -> None:
    work = queue.popleft()
    # First, so that the others have their turn even if this work fails.
    if queue:
        loop.call_soon(_run_next, loop, queue)
    work()


async def next_slice() -> None:
    """Return when it is this task's turn to go on with long work."""
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def go_on() -> None:
        if not turn.done():  # its task was cancelled
            turn.set_result(None)

    queue_slice(go_on)
    await turn
