"""Clients that read large responses slowly, and what may be kept for them."""

import asyncio
import logging
from collections.abc import Generator, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Version:
    """One version of an exposition, and the tasks that are sending it."""

    size: int
    tasks: set[asyncio.Task[object]] = field(default_factory=set)


class SlowReaders:
    """Bounds the memory of old versions of the metrics that clients are still reading.

    Readers of one version share its bytes. When everything changes all the time, each slow
    reader holds a version of its own; then those that hold the oldest are cut off.
    """

    def __init__(self, max_bytes: int) -> None:
        """Allow *max_bytes* of old versions; 0 is no limit."""
        self._max_bytes = max_bytes
        self._versions: dict[Hashable, _Version] = {}

    @contextmanager
    def reading(self, version: Hashable, size: int) -> Generator[None]:
        """Count the current task as a reader of *version*, of *size* bytes, in this block.

        The task is cancelled if the client reads so slowly that too much is held.
        """
        task = asyncio.current_task()
        assert task is not None
        held = self._versions.get(version)
        if held is None:
            held = self._versions[version] = _Version(size)
            self._cut_off_slowest(version)
        held.tasks.add(task)
        try:
            yield
        finally:
            held.tasks.discard(task)
            # If it was cut off, later readers may have registered the version anew.
            if not held.tasks and self._versions.get(version) is held:
                del self._versions[version]

    def holding(self, pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
        """Yield *pieces*, and count the current task as the only reader of *size* bytes."""
        with self.reading(object(), size):
            yield from pieces

    def _cut_off_slowest(self, newest: Hashable) -> None:
        old = sum(held.size for version, held in self._versions.items() if version != newest)
        while 0 < self._max_bytes < old:
            version = next(iter(self._versions))
            slowest = self._versions.pop(version)
            old -= slowest.size
            for task in slowest.tasks:
                task.cancel()
            _log.warning(
                "clients that read the metrics too slowly were cut off (--limit.held-bytes)",
                extra={"clients": len(slowest.tasks)},
            )
