"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 20, reason: str = "it never came") -> T:
    """Return what *condition* returns as soon as that is true; fail after *seconds*."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, reason
        time.sleep(0.01)
    return result
