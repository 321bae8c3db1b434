"""Text bodies whose label values are new each time: read by what stands around the values.

What stands around the label values and numbers of a body is its *surround*. A surround
that was read once says which pieces between are label values, of which labels, and which
are numbers; so a body with the same surround needs no parsing, only putting together.
Bodies with backslashes, summaries or histograms are left to the parser.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from pushgate.formats.assembly import Plan
from pushgate.model.grouping import Labels
from pushgate.model.shape import FamilyShape, Frame, Pushed, PushShape

_name_before = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*\Z", re.ASCII).search

_Pick = Callable[[Sequence[str | None]], tuple[str | None, ...]]


class _Sample(NamedTuple):
    """Where the labels of a sample stand among all label values, and their sorted names.

    ``order`` sorts the values as the names are; None if the body has them in order.
    """

    names: tuple[str, ...]
    values: slice
    order: Callable[[Sequence[str]], tuple[str, ...]] | None

    def labels(self, values: Sequence[str]) -> Labels:
        mine = values[self.values]
        return tuple(zip(self.names, self.order(mine) if self.order else mine, strict=True))


class Surround(NamedTuple):
    """How the pieces of a body become a shape of a known frame."""

    frame: Frame
    plan: Plan
    starts: tuple[int, ...]
    values: int
    families: tuple[tuple[_Sample, ...], ...]
    pick_values: _Pick
    pick_numbers: _Pick

    def pushed(self, pieces: Sequence[str | None]) -> Pushed | None:
        """Return what a body in *pieces* pushes, or None if they are not as they should be.

        Raises:
            ValueError: as :meth:`~pushgate.formats.assembly.Plan.numbers`.
        """
        values, numbers = _texts(self.pick_values(pieces)), _texts(self.pick_numbers(pieces))
        if len(values) < self.values or len(numbers) < self.starts[-1]:
            return None
        families = tuple(
            FamilyShape(name, kind, help_, tuple([sample.labels(values) for sample in samples]))
            for (name, kind, help_, _), samples in zip(
                self.frame.families, self.families, strict=True
            )
        )
        shape = PushShape(families, self.frame)
        shape.starts = self.starts
        shape.values_are_utf8 = True
        if "".join(values).isascii():
            shape.longest_value = max(map(len, values))
        return Pushed(shape, self.plan.numbers(" ".join(numbers).encode().split(b" ")))


def _texts(pieces: Sequence[str | None]) -> list[str]:
    return [piece for piece in pieces if piece is not None]


class Splitter:
    """Splits bodies into surround and pieces. *number* is the pattern of a number."""

    def __init__(self, number: str) -> None:
        self._split = re.compile(rf'"([^"\\\n]*)"| ({number})\n').split

    def pieces(self, body: bytes) -> list[str | None]:
        """Return surround, label value or None, number or None, in turn; nothing if it can't be."""
        if b"\\" in body:
            return []
        try:
            return self._split(body.decode())
        except UnicodeDecodeError:
            return []


def surround_of(pieces: Sequence[str | None], plan: Plan) -> Surround | None:
    """Return how *pieces* became the shape of *plan*, if it is as simple as that."""
    shape = plan.shape
    if plan.pick or plan.counts or not shape.families:
        return None
    samples = _samples(pieces)
    metrics = [labels for family in shape.families for labels in family.labels]
    values = _texts(pieces[1::3])
    if [sample.labels(values) for sample in samples] != metrics or not values:
        return None
    ends = shape.starts
    families = tuple(tuple(samples[a:b]) for a, b in pairwise(ends))
    return Surround(
        shape.frame,
        plan,
        shape.starts,
        len(values),
        families,
        _picker([i for i in range(1, len(pieces), 3) if pieces[i] is not None]),
        _picker([i for i in range(2, len(pieces), 3) if pieces[i] is not None]),
    )


def _samples(pieces: Sequence[str | None]) -> list[_Sample]:
    out: list[_Sample] = []
    names: list[str] = []
    start = 0
    for before, value in zip(pieces[0::3], pieces[1::3], strict=False):
        if value is None:
            order = sorted(range(len(names)), key=names.__getitem__)
            pick = None if order == list(range(len(names))) else itemgetter(*order)
            out.append(_Sample(tuple(sorted(names)), slice(start, start + len(names)), pick))
            start += len(names)
            names = []
            continue
        found = _name_before(before or "")
        names.append(found[1] if found else "")
    return out


def _picker(at: list[int]) -> _Pick:
    return itemgetter(*at) if len(at) > 1 else lambda pieces: tuple(pieces[i] for i in at)
