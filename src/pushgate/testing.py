"""A real gateway for tests: the server on a free loopback port, in memory.

Needs the server: ``pip install '.[server]'`` in a checkout.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from pushgate.client.results import PUSH_TIMES
from pushgate.errors import needs_server
from pushgate.model.layout import escape_label_value

try:
    from pushgate.server import sockets
    from pushgate.server.app import App
    from pushgate.server.compose import compose
    from pushgate.server.http.server import HttpServer
    from pushgate.server.settings import Settings
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(needs_server("pushgate.testing", error), name=error.name) from error

# How long the gateway waits for open connections when the block ends.
_STOP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway that runs for as long as the ``with`` block.

    Attributes:
        url: Its address, for ``PushGateway(url)`` or a job's configuration.
    """

    url: str

    def exposition(self) -> str:
        """Return what Prometheus would scrape, in the text format."""
        # A test machine's proxy must not be asked for an address of this machine.
        return httpx2.get(f"{self.url}/metrics", trust_env=False).raise_for_status().text

    def samples(self) -> dict[str, float]:
        """Return the value of every pushed series, without the push times.

        The keys are written as in the text format, labels sorted by name:
        ``rows{instance="",job="nightly"}``.
        """
        values: dict[str, float] = {}
        for family in text_string_to_metric_families(self.exposition()):
            for sample in family.samples:
                # Everything pushed has a job; the gateway's own metrics have none.
                if "job" in sample.labels and sample.name not in PUSH_TIMES:
                    pairs = [
                        f'{name}="{escape_label_value(value).decode()}"'
                        for name, value in sorted(sample.labels.items())
                    ]
                    values[f"{sample.name}{{{','.join(pairs)}}}"] = sample.value
        return values


@contextmanager
def gateway() -> Iterator[RunningGateway]:
    """Run a gateway in a thread, and yield it.

    Example:
        >>> from pushgate import PushGateway
        >>> with gateway() as pushed:
        ...     _ = PushGateway(pushed.url, job="nightly").push()
        ...     pushed.samples()
        {}
    """
    with _served(compose(Settings())) as url:
        yield RunningGateway(url)


@contextmanager
def _served(app: App) -> Iterator[str]:
    """Run *app* in a thread, and yield its URL."""
    # It listens before the thread starts, so that an early push waits instead of failing.
    [listener] = sockets.listen(["127.0.0.1:0"])
    stop = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(_serve(app, listener, stop)), name="pushgate", daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop.set()
        thread.join()
        listener.close()


async def _serve(app: App, listener: socket.socket, stop: threading.Event) -> None:
    app.context.gateway.start()
    http = HttpServer(app, app.context)
    await http.start([listener])
    await asyncio.to_thread(stop.wait)
    await http.stop(_STOP_SECONDS)
    await app.context.gateway.close()
