import asyncio

from pushgate.server.polling import polls


def test_a_request_ends_the_wait_and_counts_once():
    async def seen() -> list[bool]:
        requested = asyncio.Event()
        requested.set()
        following = polls(requested)
        return [await anext(following), await anext(following)]

    assert asyncio.run(seen()) == [True, False]
