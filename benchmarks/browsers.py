"""Browsers that have the page of the groups open, as far as the server can tell."""

import http.client
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from gzip import decompress
from threading import Event

from tests.services import Service

BROWSERS = 10
SEARCHES = ("/?q=stage_001", "/?q=i0042", "/?q=%7Binstance%3D~%22i0042.*%22%7D")


def opened(service: Service, target: str) -> tuple[float, int, int]:
    """The milliseconds that a page takes, its size, and its size on the wire."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    began = time.perf_counter()
    connection.request("GET", target, headers={"Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - began
    connection.close()
    if answer.status != 200:
        raise ValueError(f"GET {target} was answered {answer.status}")
    return took * 1000, len(decompress(body)), len(body)


def median(service: Service, targets: tuple[str, ...], times: int = 9) -> float:
    """The largest of the median milliseconds of *targets*, each opened so many times.

    A query that makes no difference makes it a page that was not rendered before.
    """
    numbers = range(times)
    return max(
        statistics.median(
            opened(service, f"{target}{'&' if '?' in target else '?'}n={number}")[0]
            for number in numbers
        )
        for target in targets
    )


@contextmanager
def refreshing(service: Service, browsers: int = BROWSERS) -> Iterator[None]:
    """So many browsers refresh the page every second, as its script does."""
    closed = Event()

    def browser(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        etag = ""
        closed.wait(number / browsers)
        while not closed.is_set():
            headers = {"Accept-Encoding": "gzip", "Cache-Control": "max-stale"}
            connection.request("GET", "/", headers={**headers, "If-None-Match": etag})
            answer = connection.getresponse()
            answer.read()
            etag = answer.headers["ETag"]
            closed.wait(1)

    with ThreadPoolExecutor(browsers) as pool:
        running = [pool.submit(browser, number) for number in range(browsers)]
        try:
            yield
        finally:
            closed.set()
        for one in running:
            one.result()
