"""Text bodies whose label values are new each time: read by what stands around the values.

What stands around the label values and numbers of a body is its *surround*. A surround
that was read once says which label every value belongs to; so a body with the same
surround needs no parsing, only putting together. Bodies with backslashes, summaries or
histograms are left to the parser, and so are families whose metrics differ in the number
of labels.
"""

import re
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import NamedTuple

from pushgate.formats.assembly import Plan
from pushgate.model.grouping import Labels
from pushgate.model.shape import FamilyShape, Frame, PushShape

_name_before = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*\Z", re.ASCII).search
_NUMBER = "\0"


class Pieces(NamedTuple):
    """A body without its numbers, cut at the quotes. ``around`` has a NUL for each number."""

    around: tuple[str, ...]
    values: Sequence[str]


def pieces_of(heads: Sequence[bytes]) -> Pieces | None:
    """Return what stands before, between and behind the numbers of a body, if it is simple."""
    body = _NUMBER.encode().join(heads)
    if b"\\" in body or body.count(0) != len(heads) - 1:
        return None
    try:
        pieces = body.decode().split('"')
    except UnicodeDecodeError:
        return None
    return Pieces(tuple(pieces[0::2]), pieces[1::2])


class _Column(NamedTuple):
    """The label values of a family among all of a body: ``names`` has the name of each.

    There are ``metrics`` metrics, all with ``width`` labels.
    """

    names: tuple[str, ...]
    values: slice
    width: int
    metrics: int

    def labels(self, values: Sequence[str]) -> tuple[Labels, ...]:
        if not self.width:
            return ((),) * self.metrics
        pairs = zip(self.names, values[self.values], strict=True)
        return tuple(zip(*[pairs] * self.width, strict=True))


class Surround(NamedTuple):
    """How the label values of a body become a shape of a known frame.

    ``order`` sorts the values of each metric by the names of its labels; None if they are.
    """

    frame: Frame
    starts: tuple[int, ...]
    plan: Plan
    expected: int
    order: Callable[[Sequence[str]], Sequence[str]] | None
    columns: tuple[_Column, ...]

    def shape(self, values: Sequence[str]) -> PushShape | None:
        """Return the shape of a body with these label *values*; None if they are no values."""
        inside = "".join(values)
        if len(values) != self.expected or "\n" in inside or _NUMBER in inside:
            return None
        shape = PushShape(self.families(values), self.frame)
        shape.starts = self.starts
        shape.values_are_utf8 = True
        if inside.isascii():
            shape.longest_value = max(map(len, values))
        return shape

    def families(self, values: Sequence[str]) -> tuple[FamilyShape, ...]:
        """Return the families with these label *values*."""
        ordered = self.order(values) if self.order else values
        return tuple(
            FamilyShape(name, kind, help_, column.labels(ordered))
            for (name, kind, help_, *_), column in zip(
                self.frame.families, self.columns, strict=True
            )
        )


def surround_of(pieces: Pieces, shape: PushShape, plan: Plan) -> Surround | None:
    """Return how *pieces* became *shape*, if it is as simple as that."""
    families, values = shape.families, pieces.values
    if plan.pick or plan.counts or not values:
        return None
    samples = _label_names(pieces.around)
    if len(samples) != shape.series:
        return None
    columns = _columns(samples, shape.starts)
    if any(len(column.names) != column.width * column.metrics for column in columns):
        return None
    if sum(len(column.names) for column in columns) != len(values):
        return None  # a comment has quotes
    surround = Surround(shape.frame, shape.starts, plan, len(values), _order(samples), columns)
    return surround if surround.families(values) == families else None


def _label_names(around: Sequence[str]) -> list[list[str]]:
    """Return the names of each sample's labels, in the order of the body."""
    samples: list[list[str]] = [[]]
    for piece in around[:-1]:
        *ended, before = piece.split(_NUMBER)
        samples += [[] for _ in ended]
        found = _name_before(before)
        samples[-1].append(found[1] if found else "")
    samples += [[] for _ in range(around[-1].count(_NUMBER))]
    return samples[:-1]


def _columns(samples: list[list[str]], starts: Sequence[int]) -> tuple[_Column, ...]:
    names = [name for sample in samples for name in sorted(sample)]
    ends = list(accumulate(map(len, samples), initial=0))
    return tuple(
        _Column(
            tuple(names[ends[first] : ends[end]]),
            slice(ends[first], ends[end]),
            width=len(samples[first]),
            metrics=end - first,
        )
        for first, end in pairwise(starts)
    )


def _order(samples: list[list[str]]) -> Callable[[Sequence[str]], Sequence[str]] | None:
    order: list[int] = []
    for names in samples:
        start = len(order)
        order += [start + at for at in sorted(range(len(names)), key=names.__getitem__)]
    return None if order == sorted(order) else itemgetter(*order)
