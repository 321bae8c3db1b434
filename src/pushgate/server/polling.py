"""When to look at files that may change while the server runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

_POLL_SECONDS = 1.0


async def polls(requested: asyncio.Event) -> AsyncIterator[bool]:
    """Yield once a second, and at once when *requested* is set.

    What it yields is whether it was set; it is cleared then.
    """
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(requested.wait(), _POLL_SECONDS)
        is_requested = requested.is_set()
        requested.clear()
        yield is_requested
