"""What a format of expositions has to say: metrics of groups, and what stands around them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from pushgate.model.family import FamilyShape
from pushgate.model.numbers import go_float
from pushgate.model.shape import Pushed, interned
from pushgate.server.store.group import EXPECTED_INTERVAL, PUSH_FAILURE_TIME, PUSH_TIME, Group

TIMES_SHAPE: Final = interned((PUSH_FAILURE_TIME, PUSH_TIME))
"""The shape of the two families that every group has."""


def times_numbers(group: Group) -> bytes:
    """Return the numbers of :data:`TIMES_SHAPE` for *group*."""
    return f"{go_float(group.failed_at / 1e9)} {go_float(group.pushed_at / 1e9)}".encode()


_INTERVAL_SHAPE: Final = interned((EXPECTED_INTERVAL,))
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
