"""What a format of expositions has to say: metrics of groups, and what stands around them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple, Protocol, TypeAlias

from pushgate.model.family import FamilyShape
from pushgate.model.grouping import GroupingKey
from pushgate.model.layout import Layout
from pushgate.model.numbers import go_float
from pushgate.model.shape import Pushed, PushShape, interned
from pushgate.server.store.group import EXPECTED_INTERVAL, PUSH_FAILURE_TIME, PUSH_TIME, Group

TIMES_SHAPE: Final = interned((PUSH_FAILURE_TIME, PUSH_TIME))
"""The shape of the two families that every group has."""


def times_numbers(group: Group) -> bytes:
    """Return the numbers of :data:`TIMES_SHAPE` for *group*."""
    return f"{go_float(group.failed_at / 1e9)} {go_float(group.pushed_at / 1e9)}".encode()


_INTERVAL_SHAPE: Final = interned((EXPECTED_INTERVAL,))
# How long the keys of series that are rendered in one go may be together: each is copied.
_MAX_KEY_BYTES: Final = 1 << 20
Interval = Callable[[Group], int]
"""Returns the interval at which a group is expected to be pushed, in nanoseconds; 0 for none."""


def intervals(groups: Iterable[Group], interval: Interval) -> Iterator[tuple[Group, Pushed]]:
    """Yield those of *groups* that are expected to be pushed, each with the family that says so."""
    for group in groups:
        if expected := interval(group):
            yield group, Pushed(_INTERVAL_SHAPE, go_float(expected / 1e9).encode())


class OwnMetrics(NamedTuple):
    """One family of the server's own metrics: its shape, and the bytes of its metrics."""

    shape: FamilyShape
    metrics: bytes


Piece = tuple[FamilyShape, bytes]
"""A family and bytes of some of its metrics."""

PAUSE: Final[Piece] = (PUSH_TIME, b"")

Row: TypeAlias = tuple[GroupingKey, Pushed]
"""What stands in a group: pushed, or said about it."""

Rows: TypeAlias = Sequence[Row]
"""Rows of one shape, in groups whose keys have the same label names."""


def rendered(
    groups: Sequence[Group],
    interval: Interval,
    render: Callable[[Rows], Iterator[Piece]],
    most: int,
) -> Iterator[Piece]:
    """Yield the metrics of *groups*; those of a family in the order of the groups.

    Args:
        groups: in the order of their keys.
        interval: at which a group is expected to be pushed.
        render: yields the metrics of rows of one layout; those of a family in their order.
        most: how many series it gets at once, fewer if keys are long; those of one row, if
            these are more.
    """
    times = [(group.key, Pushed(TIMES_SHAPE, times_numbers(group))) for group in groups]
    yield PAUSE
    yield from _in_batches(times, render, most)
    expected = intervals(groups, interval)
    yield from _in_batches([(group.key, pushed) for group, pushed in expected], render, most)
    blocks = [(group.key, block) for group in groups for block in group.blocks]
    rows = [(key, block.pushed) for key, block in blocks]
    by_shape: dict[PushShape, list[Row]] = {}
    for row in rows:
        by_shape.setdefault(row[1].shape, []).append(row)
    names = [shape.names for shape in by_shape]
    if any(block.dropped for _, block in blocks):
        for row, (_, block) in zip(rows, blocks, strict=True):
            for family, piece in render([row]):
                yield family, b"" if family.name in block.dropped else piece
    elif sum(map(len, names)) > len(frozenset().union(*names)):
        yield from _in_batches(rows, render, most)  # shapes share families: group by group
    else:
        for same in by_shape.values():
            yield from _in_batches(same, render, most)


def _in_batches(
    rows: list[Row], render: Callable[[Rows], Iterator[Piece]], most: int
) -> Iterator[Piece]:
    for _, some in groupby(rows, key=_layout):
        same = list(some)
        series = max(1, same[0][1].shape.series)
        longest = max(len(key.packed) for key, _ in same)
        step = max(1, min(most, _MAX_KEY_BYTES // longest) // series)
        for start in range(0, len(same), step):
            yield from render(same[start : start + step])


def _layout(row: Row) -> Layout:
    key, pushed = row
    return pushed.shape.layout(key)


class View(Protocol):
    """A format of expositions, under one escaping scheme."""

    def pieces(self, groups: Sequence[Group]) -> Iterator[Piece]:
        """Yield the metrics of *groups*; those of a family in the order of the groups.

        A piece takes some milliseconds at most; one of no bytes is a pause, in which other
        work may run.
        """
        ...

    def name(self, family: FamilyShape) -> str:
        """Return the name by which families are one in this format."""
        ...

    def head(self, family: FamilyShape, help: str | None, length: int) -> bytes:  # noqa: A002 - the word of the format
        """Return what stands before the metrics of *family*, *length* bytes over all groups."""
        ...

    def own(self) -> list[OwnMetrics]:
        """Return the server's own metrics of this moment, ordered by name."""
        ...
