"""What bodies have in common that differ only in label values and numbers.

Readers take the label values out of a body, in order. What remains is its *structure*: families,
and which label of which sample each value belongs to. Together with label values it is a shape.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, groupby, repeat
from typing import NamedTuple

from pushgate.formats.families import Assembled, FamilyBuilder, Part, assemble
from pushgate.formats.slots import SlotMapping
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.model.numbers import go_float, parse_float
from pushgate.model.shape import LabelSchema, PushShape, interned

_MAX_BOUND = 100  # characters; longer bounds would fill the cache with what strangers send


class Unusual(Exception):
    """A body has to be read by the scanner."""


class Run(NamedTuple):
    """Consecutive samples with one metric name and the same label names.

    ``family`` is the position of their family. ``written`` are their label names in the order of
    the body, and ``values`` selects theirs from all label values. ``columns`` selects those of each
    of the label ``names``, which are sorted; ``bounds`` those of ``le`` or ``quantile``.
    """

    family: int
    part: Part
    samples: range
    written: tuple[str, ...]
    values: slice
    names: tuple[str, ...]
    columns: tuple[slice, ...]
    bounds: slice | None

    def labels(self, inside: Sequence[str]) -> list[Labels]:
        """Return the labels of each sample; *inside* are all label values."""
        return labels_of(self.names, [inside[at] for at in self.columns], len(self.samples))


def labels_of(names: Sequence[str], columns: Sequence[Sequence[str]], count: int) -> list[Labels]:
    """Return the labels of *count* metrics; a pair that all of them have is one object."""
    if not names:
        return [()] * count
    if count == 1:
        return [tuple([(name, column[0]) for name, column in zip(names, columns, strict=True)])]
    # Column by column in C: two calls for each label name, not for each metric.
    pairs: list[Iterable[tuple[str, str]]] = [
        repeat((name, column[0]), count)
        if column.count(column[0]) == count
        else zip(repeat(name), column)
        for name, column in zip(names, columns, strict=True)
    ]
    return [*zip(*pairs, strict=True)]


class Structure(NamedTuple):
    """A body without its label values and numbers: families, and runs of samples.

    Where all families are simple, ``mapping`` fills the slots, whatever the label values are, and
    ``starts`` are the first slots of the families.
    """

    families: tuple[tuple[str, MetricType, str | None], ...]
    runs: tuple[Run, ...]
    label_schema: LabelSchema
    samples: int
    starts: tuple[int, ...] = ()
    mapping: SlotMapping | None = None

    @property
    def cost(self) -> int:
        """About how many bytes of memory it takes."""
        return 600 * len(self.families) + 500 * len(self.runs)

    def labels(self, inside: Sequence[str]) -> tuple[list[tuple[Labels, ...]], Sequence[str]]:
        """Return the labels of each simple family, and the values that they were made of.

        Families with the same labels share them, as most of a job do. Then the values come once.
        """
        known: dict[object, tuple[Labels, ...]] = {}
        labels: list[list[tuple[Labels, ...]]] = [[] for _ in self.families]
        values: list[str] = []
        last: tuple[object, ...] = ()
        its: tuple[Labels, ...] = ()
        for run in self.runs:
            key = len(run.samples), run.written, inside[run.values]
            if key != last:  # usually equal, which is cheaper to find out than to look it up
                last, hashable = key, (*key[:2], *key[2])
                if hashable not in known:
                    known[hashable] = tuple(run.labels(inside))
                    values += key[2]
                its = known[hashable]
            labels[run.family].append(its)
        joined = [its[0] if len(its) == 1 else tuple(chain.from_iterable(its)) for its in labels]
        return joined, values

    def bounds(self, inside: Sequence[str]) -> set[str]:
        """Return the buckets and quantiles among the label values *inside*, as written."""
        return {value for run in self.runs if run.bounds for value in inside[run.bounds]}

    def assembled(
        self,
        inside: Sequence[str],
        label_schema: LabelSchema | None = None,
        longest: int | None = None,
    ) -> tuple[PushShape, SlotMapping]:
        """Return the shape with *inside* as label values.

        It is interned, unless *label_schema* is given: then the label values are expected to be new
        each time, so that looking for an equal shape is not worth it. *longest* is how many bytes
        the longest of them has, if that is known.
        """
        if mapping := self.mapping:
            labels, values = self.labels(inside)
            if longest is None and "".join(values).isascii():
                longest = max(map(len, values), default=0)
            families = tuple(
                [
                    FamilyShape(*family, its)
                    for family, its in zip(self.families, labels, strict=True)
                    if its
                ]
            )
        else:
            builders = [FamilyBuilder(*family) for family in self.families]
            fill(builders, self.runs, inside)
            families, mapping = complete(assemble(builders, self.samples))
        shape = (
            PushShape(families, label_schema, self.starts)
            if label_schema
            else interned(families, self.label_schema.families)
        )
        shape.values_are_utf8 = True  # they were decoded
        if longest is not None:
            shape.longest_value = longest
        return shape, mapping


def complete(assembled: Assembled) -> tuple[tuple[FamilyShape, ...], SlotMapping]:
    """Return the families and the mapping of *assembled*, if every sample has a slot."""
    families, mapping, is_complete = assembled
    if not is_complete:
        raise Unusual
    return families, mapping


def fill(
    families: Sequence[FamilyBuilder], runs: Iterable[Run], inside: Sequence[str], before: int = 0
) -> None:
    """Give the samples of *runs* to *families*, each at its position.

    The runs are those of a body, or of a piece of one, with the label values *inside*; *before* is
    how many samples came in earlier pieces.

    Raises:
        Unusual, ValueError: a sample is for the scanner to judge.
    """
    for run in runs:
        family, labels = families[run.family], run.labels(inside)
        samples = range(before + run.samples.start, before + run.samples.stop)
        if family.special_label is None:
            family.labels += labels
            family.at += samples
        elif run.part is not Part.BODY:
            if run.bounds:
                raise Unusual
            for at, its in zip(samples, labels, strict=True):
                metric = family.distribution(its)
                if run.part is Part.SUM:
                    metric.sum = at
                else:
                    metric.count = at
        elif run.bounds is None:
            raise Unusual
        else:
            _fill_points(family, samples, labels, inside[run.bounds])


def _fill_points(
    family: FamilyBuilder, samples: range, labels: list[Labels], bounds: Sequence[str]
) -> None:
    if max(map(len, bounds)) > _MAX_BOUND:
        raise Unusual
    written = [*map(_written_bound, bounds)]
    # Buckets of one metric follow each other in ordinary bodies: one look-up for all of them.
    start = 0
    for its, points in groupby(labels):
        end = start + len([*points])
        metric = family.distribution(its)
        metric.bounds += written[start:end]
        metric.at += samples[start:end]
        start = end


@lru_cache(1000)
def _written_bound(value: str) -> str:
    """Return the canonical text of a bucket or quantile."""
    bound = parse_float(value)
    if math.isnan(bound):
        raise Unusual  # the sample counts for nothing
    return go_float(bound)
