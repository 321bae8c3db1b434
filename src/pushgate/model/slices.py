"""Work in slices: a generator that yields whenever something else may run.

Long work on the event loop is written this way. Whoever drives it decides, by the clock,
at which of its yields to let the loop go on; the work itself knows no clock.
"""

from collections.abc import Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Sliced: TypeAlias = Generator[None, None, T]
"""Work that returns a ``T``. Between two yields it takes at most a few milliseconds."""

PER_SLICE = 256
"""Small steps, of some microseconds each, between two yields."""


def finished(work: Sliced[T]) -> T:
    """Run *work* to its end and return its result."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        result: T = end.value
        return result
