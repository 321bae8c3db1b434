"""The metric families of a group, for pages and the JSON API.

A group may have 100,000 families, or a histogram with as many buckets. Generators split the work
on them into steps of about a millisecond, between which other requests are served.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from heapq import merge
from itertools import accumulate, islice, pairwise, repeat
from typing import Any, NamedTuple, TypeVar

from pushgate.formats.protobuf.description import describe
from pushgate.formats.slots import is_float_histogram
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.model.native import NativeBucket
from pushgate.model.numbers import go_float
from pushgate.model.slices import Sliced, draining
from pushgate.server.store.group import PUSH_FAILURE_TIME, PUSH_TIME, Group

T = TypeVar("T")

_ITEMS_PER_STEP = 1000
_BYTES_PER_STEP = 1000
# What each of the families takes while they are read, sorted.
_BYTES_PER_FAMILY = 100


class Metric(NamedTuple):
    """One metric. A simple one has one of ``values``; others have one for each of ``bounds``.

    ``total`` is the sum of the ``observations`` of a summary or histogram. Whole counts are plain
    digits. ``native`` are the buckets of a native histogram. These and ``values`` may be computed
    while they are read, and can be read once: there may be very many.
    """

    labels: Labels
    values: Iterable[str]
    bounds: Sequence[str] = ()
    total: str = ""
    observations: str = ""
    native: Iterable[NativeBucket] | None = None


class Family(NamedTuple):
    """One metric family of a group, received at a time in Unix nanoseconds.

    ``line`` has a number for each slot of the shape, with blanks between them. ``details`` has a
    part of a protobuf message for each metric, or is empty.
    """

    shape: FamilyShape
    received: int
    line: bytes
    details: Sequence[bytes]

    @property
    def size(self) -> int:
        """How many numbers it has; native histograms may have fewer buckets than it counts."""
        return self.shape.slots + sum(map(len, self.details)) // 2  # a bucket takes two bytes

    def numbers(self) -> Iterator[str]:
        line = self.line
        return _texts(line) if len(line) > _BYTES_PER_STEP else iter(line.decode().split())

    def metrics(self) -> Iterator[Metric]:
        """Yield the metrics in the order pushed."""
        shape, numbers = self.shape, self.numbers()
        if shape.type.is_simple:
            yield from map(Metric, shape.labels, zip(numbers, strict=True))
            return
        is_summary, kinds = shape.type is MetricType.SUMMARY, repeat(shape.type)
        described = map(describe, self.details, kinds) if self.details else repeat(None)
        for labels, bounds, exact in zip(shape.labels, shape.bounds, described, strict=False):
            *texts, total, count = islice(numbers, len(bounds) + 2)
            values: Iterable[str] = texts
            if exact:
                values = values if is_summary else exact.buckets
                yield Metric(labels, values, bounds, total, exact.total, exact.native)
                continue
            if is_summary:
                count = _whole(count)
            elif not is_float_histogram([n.encode() for n in (*texts, count) if not n.isdecimal()]):
                values, count = map(_whole, texts), _whole(count)
            yield Metric(labels, values, bounds, total, count)


def families(group: Group) -> Iterator[Family]:
    """Yield the metric families of *group*, those of its push times last."""
    for block in group.blocks:
        shape, details = block.pushed.shape, block.pushed.details
        metrics = accumulate((len(family.labels) for family in shape.families), initial=0)
        for family, received, line, places in zip(
            shape.families,
            block.times_of_families(),
            _lines(block.pushed.numbers, shape.starts),
            pairwise(metrics),
            strict=True,
        ):
            if family.name in block.dropped:
                continue
            yield Family(family, received, line, details[slice(*places)])
    for shape_of_time, time in ((PUSH_TIME, group.pushed_at), (PUSH_FAILURE_TIME, group.failed_at)):
        yield Family(shape_of_time, time or group.since, go_float(time / 1e9).encode(), ())


def _whole(count: str) -> str:
    """Return a whole *count* without an exponent."""
    return count if count.isdecimal() else str(int(float(count)))


def _texts(line: bytes) -> Iterator[str]:
    """Yield the numbers in *line* as texts, some at a time: all take ten times its memory."""
    start = 0
    while start < len(line):
        stop = line.find(b" ", start + _BYTES_PER_STEP)
        stop = len(line) if stop < 0 else stop
        yield from line[start:stop].decode().split()
        start = stop + 1


def _lines(line: bytes, starts: Sequence[int]) -> Iterator[bytes]:
    """Cut *line*, a number for each slot, at the slots *starts*, whose last is its end."""
    at = 0
    for first, end in pairwise(starts):
        after = at
        if end == starts[-1]:
            after = len(line) + 1
        else:
            for _ in range(first, end):
                after = line.find(b" ", after) + 1
        yield line[at : max(at, after - 1)]
        at = after


def held_bytes(group: Group) -> int:
    """Return about how many bytes a reader of the families of *group* holds."""
    return _BYTES_PER_FAMILY * group.families


def sorted_in_steps(items: Iterable[T], key: Callable[[T], Any]) -> Sliced[Iterator[T]]:
    """Return *items* in the order of their *key*, the same as ``sorted`` would."""
    # Not slices.sorting(), whose steps are for items that exist: these are made as they are taken,
    # so that twice as many at a time would take 4 to 8 ms instead of 2 or 3.
    chunks, rest = [], iter(items)
    while chunk := sorted(islice(rest, _ITEMS_PER_STEP), key=key):
        chunks.append(chunk)
        yield
    if len(chunks) == 1:
        return iter(chunks[0])
    # Releasing 100,000 items at once is a long step.
    return merge(*map(draining, chunks), key=key)


def local_time(nanoseconds: int) -> str:
    """Return a time in Unix nanoseconds as Go's RFC3339Nano, in the local time zone."""
    seconds, rest = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, UTC).astimezone().isoformat()
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{moment[:19]}{fraction}{moment[19:].replace('+00:00', 'Z')}"
