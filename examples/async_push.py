"""Push from asyncio, again and again while the work goes on: python async_push.py [GATEWAY]."""

import asyncio
import sys

from pushgate import AsyncPushGateway, Counter

handled = Counter("messages_handled", "Messages handled by this worker.")


async def work() -> None:
    """Stands for the work of the program."""
    for _ in range(3):
        await asyncio.sleep(0.05)
        handled.inc()


async def main() -> None:
    """Pushes every 15 seconds while the work goes on, and at its end."""
    address = sys.argv[1] if len(sys.argv) > 1 else "localhost:9091"
    gateway = AsyncPushGateway(address, job="worker", instance="hostname")
    async with gateway, gateway.periodic(interval=15, final="push"):
        await work()


asyncio.run(main())
