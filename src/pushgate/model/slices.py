"""Work in slices: a generator that yields whenever something else may run.

Long work on the event loop is written this way. Its driver looks at the clock and decides at
which yields the loop goes on; the work itself knows no clock.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
K = TypeVar("K")
P = TypeVar("P")

Sliced: TypeAlias = Generator[None, None, T]
"""Work that returns a ``T``. Between two yields it takes at most a few milliseconds."""

PER_SLICE = 256
"""How many small steps, of some microseconds each, are made between two yields."""

_AT_ONCE = 2048  # even smaller steps: sorting or freeing an item


def finished(work: Sliced[T]) -> T:
    """Run *work* to its end and return its result."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        result: T = end.value
        return result


def pausing(work: Sliced[T], pause: P) -> Generator[P, None, T]:
    """Run *work* inside a generator that yields something else: it yields *pause*."""
    try:
        while True:
            next(work)
            yield pause
    except StopIteration as end:
        result: T = end.value
        return result


def listing(items: Iterable[T]) -> Sliced[list[T]]:
    """Return *items*, which cost some microseconds each, as a list, in slices."""
    out: list[T] = []
    rest = iter(items)
    while some := list(islice(rest, PER_SLICE)):
        if out:
            yield
        out += some
    return out


def mapping(pairs: Iterable[tuple[K, T]]) -> Sliced[dict[K, T]]:
    """Return *pairs*, which cost some microseconds each, as a dict, in slices."""
    out: dict[K, T] = {}
    rest = iter(pairs)
    while some := list(islice(rest, PER_SLICE)):
        if out:
            yield
        out.update(some)
    return out


def choosing(items: Iterable[T], accepts: Callable[[T], bool]) -> Sliced[list[T]]:
    """Return those of *items* that *accepts*, which may take a millisecond for each, in slices."""
    out = []
    for item in items:
        if accepts(item):
            out.append(item)
        yield
    return out


def sorting(items: Sequence[T], key: Callable[[T], Any]) -> Sliced[list[T]]:
    """Return *items* in the order of their *key*, as ``sorted`` does, in slices."""
    if len(items) <= _AT_ONCE:
        return sorted(items, key=key)
    # sorted() is one call into C, however long; merging sorted chunks can pause at each item.
    chunks = []
    for start in range(0, len(items), _AT_ONCE):
        chunks.append(sorted(items[start : start + _AT_ONCE], key=key))
        yield
    out = []
    for number, item in enumerate(merge(*chunks, key=key)):
        if number % PER_SLICE == 0:
            yield
        out.append(item)
    return out


def draining(items: list[T]) -> Iterator[T]:
    """Yield *items* in order, and let go of each before the next; *items* is empty in the end."""
    items.reverse()
    while items:
        yield items.pop()


def releasing(items: set[T] | list[T] | dict[T, Any]) -> Sliced[None]:
    """Remove nearly all of *items*, in slices: freeing them at once is one long call into C."""
    take = items.popitem if isinstance(items, dict) else items.pop
    while len(items) > _AT_ONCE:
        for _ in range(PER_SLICE):
            take()
        yield
