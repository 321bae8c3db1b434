"""Frees large shapes in a thread of its own, piece by piece.

A shape of 99,000 series consists of a million objects. Freeing them at once is a single call into C
that holds the interpreter lock, so all other threads would wait for it.
"""

import threading
import time
from collections.abc import Collection
from queue import SimpleQueue
from typing import Any

from pushgate.model import shape

_SMALL = 256
_DELAY_SECONDS = 0.1  # until the code that had it last has let go of it, too
_Part = Collection[Any]


def start() -> None:
    """Free large shapes in a thread from now on."""
    dropped: SimpleQueue[list[_Part]] = SimpleQueue()

    def free() -> None:
        while True:
            parts = dropped.get()
            time.sleep(_DELAY_SECONDS)
            take_apart(parts)

    threading.Thread(target=free, name="freeing", daemon=True).start()
    shape.release = dropped.put


def take_apart(parts: list[_Part]) -> None:
    """Empty *parts* so that no call frees more than a few objects."""
    while parts:
        items = [*parts.pop()]
        while items:
            item = items.pop()
            if isinstance(item, tuple):
                parts += [
                    part
                    for part in item
                    if isinstance(part, (tuple, frozenset)) and len(part) > _SMALL
                ]
