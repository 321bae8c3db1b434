"""Shapes that differ from a known one in a few label values, such as that of a run or a commit.

Such a value is new in each push, and the same in all its metrics. Where two bodies differ in
nothing else but numbers, the labels of the second one need not be read.
"""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Final, NamedTuple

from pushgate.formats.structure import Unusual
from pushgate.model.family import FamilyShape
from pushgate.model.grouping import Labels
from pushgate.model.shape import PushShape, size

MAX_NEW: Final = 8
"""How many values a relabeling may leave out. Each takes a pass over the labels."""


class _Column(NamedTuple):
    """One label of some metrics: a pair for each, or which of the new values all of them have."""

    name: str
    pairs: tuple[tuple[str, str], ...]
    new: int | None


class _Metrics(NamedTuple):
    """The metrics of a family: their labels, or these by columns if they have new values."""

    length: int
    labels: tuple[Labels, ...]
    columns: list[_Column]

    def filled(self, values: Sequence[str]) -> tuple[Labels, ...]:
        if not self.columns:
            return self.labels
        columns = [
            repeat((name, values[new]), self.length) if new is not None else pairs
            for name, pairs, new in self.columns
        ]
        return tuple(zip(*columns, strict=True))


class Relabeling:
    """A shape without some label values, which all metrics of a family have, or none."""

    def __init__(self, shape: PushShape, values: Sequence[str]) -> None:
        """Leave out *values*; raise Unusual if only some metrics of a family have one of them."""
        self._label_schema = shape.label_schema
        self._starts = shape.starts
        self._is_distinct = shape.is_distinct
        places: dict[tuple[Labels, ...], int] = {}  # families often share their labels
        self._places = [places.setdefault(family.labels, len(places)) for family in shape.families]
        self._metrics = [_by_columns(labels, values) for labels in places]
        self._names, self._types, self._helps = zip(*[f[:3] for f in shape.families], strict=True)
        self._bounds = [family.bounds for family in shape.families]
        pairs = chain.from_iterable(chain.from_iterable(places))
        self._longest = max((size(value) for _, value in pairs if value not in values), default=0)

    @property
    def cost(self) -> int:
        """About how many bytes of memory it takes."""
        pairs = 0
        for metrics in self._metrics:
            pairs += sum(map(len, metrics.labels))
            pairs += sum(len(column.pairs) for column in metrics.columns)
        return 600 * len(self._places) + 130 * pairs

    def filled(self, values: Sequence[str]) -> PushShape:
        """Return the shape with *values* in place of those that were left out. Not interned."""
        different = [metrics.filled(values) for metrics in self._metrics]
        labels = [different[place] for place in self._places]
        families = map(FamilyShape, self._names, self._types, self._helps, labels, self._bounds)
        shape = PushShape(tuple(families), self._label_schema, self._starts)
        # A value is new in all metrics of a family, so two of them differ if they did before.
        shape.is_distinct = self._is_distinct
        shape.values_are_utf8 = True
        shape.longest_value = max(self._longest, *map(size, values))
        return shape


def _by_columns(metrics: tuple[Labels, ...], values: Sequence[str]) -> _Metrics:
    """Return *metrics* by columns, or as they are if they have none of *values*."""
    if not any(value in values for labels in metrics for _, value in labels):
        return _Metrics(len(metrics), metrics, [])
    if len({tuple([name for name, _ in labels]) for labels in metrics}) > 1:
        raise Unusual
    columns: list[_Column] = []
    for pairs in zip(*metrics, strict=True):
        name, value = pairs[0]
        if value in values and pairs.count(pairs[0]) == len(pairs):
            columns.append(_Column(name, (), values.index(value)))
        elif any(value in values for _, value in pairs):
            raise Unusual
        else:
            columns.append(_Column(name, pairs, None))
    return _Metrics(len(metrics), (), columns)
