"""From samples in the order of a body to a shape and its slots."""

import math
import re
from collections.abc import Callable, Sequence
from enum import Enum
from operator import itemgetter
from typing import NamedTuple

from pushgate.formats.canonical import canonical_line
from pushgate.model.grouping import Labels
from pushgate.model.numbers import go_float, is_whole_count
from pushgate.model.shape import FamilyShape, MetricType, PushShape, interned

# Small whole numbers: what counts nearly always are.
_all_small_counts = re.compile(rb"(?:(?:0|[1-9]\d{0,5})(?: |$))*").fullmatch
_ZERO = -1
_LARGEST_COUNT = math.nextafter(2.0**64, 0)


class NegativeCount(ValueError):
    """A histogram count below zero. The text says of what."""


class _Rule(Enum):
    """What a slot may hold, beyond any number."""

    SUMMARY_COUNT = "count"
    HISTOGRAM_COUNT = "negative count"
    BUCKET = "negative bucket population"


class Plan(NamedTuple):
    """How the samples of a body fill the slots of its shape.

    ``pick`` takes the sample values and a final zero; None when samples are slots.
    ``counts`` are the slots that hold counts, with their rule and family. The plan
    *is_complete* if every sample has a slot: then it sees all values that can be wrong.
    """

    is_complete: bool
    pick: Callable[[Sequence[bytes]], tuple[bytes, ...]] | None
    counts: tuple[tuple[int, _Rule, str], ...]

    def numbers(self, values: list[bytes]) -> bytes:
        """Return the numbers of the shape from the *values* of the samples.

        Raises:
            ValueError: a value is not a number of the text format, or a count is negative.
        """
        line = canonical_line(values)
        if self.pick:
            line = b" ".join(self.pick([*line.split(b" "), b"0"]))
        if self.counts:
            line = self._checked_counts(line)
        return line

    def _checked_counts(self, line: bytes) -> bytes:
        tokens = line.split(b" ")
        if _all_small_counts(b" ".join([tokens[slot] for slot, _, _ in self.counts])):
            return line
        for slot, rule, family in self.counts:
            tokens[slot] = count(tokens[slot], rule, family)
        return b" ".join(tokens)


def count(token: bytes, rule: _Rule, family: str) -> bytes:
    """Return canonical *token* as a count of *family*.

    A summary's count is cut to a whole number, and clamped to [0, 2**64); a histogram's
    may be any number that is not negative.
    """
    value = float(token)
    if rule is _Rule.SUMMARY_COUNT:
        whole = 0.0 if math.isnan(value) else min(max(value, 0.0), _LARGEST_COUNT)
        return go_float(float(math.trunc(whole))).encode()
    if value < 0:
        raise NegativeCount(f'{rule.value} for histogram "{family}"')
    return b"0" if value == 0 else token


class _Distribution:
    """One summary or histogram, while its samples come in. Numbers are sample indices."""

    __slots__ = ("at", "bounds", "count", "sum")

    def __init__(self) -> None:
        self.bounds: list[str] = []
        self.at: list[int] = []
        self.sum = self.count = _ZERO


class Part(Enum):
    """Which sample of a summary or histogram a line is."""

    BODY = ""
    SUM = "_sum"
    COUNT = "_count"


class FamilyBuilder:
    """One family, while its lines come in. ``type`` is None until a line fixes it."""

    __slots__ = ("at", "distributions", "help", "labels", "name", "type")

    def __init__(self, name: str) -> None:
        self.name = name
        self.type: MetricType | None = None
        self.help: str | None = None
        self.labels: list[Labels] = []
        self.at: list[int] = []
        self.distributions: dict[Labels, _Distribution] = {}

    @property
    def special_label(self) -> str | None:
        """The label that is no label of the metric: a histogram's ``le``, say."""
        if self.type is None or self.type.is_simple:
            return None
        return "le" if self.type.is_histogram else "quantile"

    def distribution(self, labels: Labels) -> _Distribution:
        """Return the summary or histogram with *labels*, new if it is not there yet."""
        found = self.distributions.get(labels)
        if found is None:
            found = self.distributions[labels] = _Distribution()
        return found

    def check_count(self, part: Part, value: float) -> None:
        """Raise :exc:`NegativeCount` if *value* can't be that part of a histogram."""
        assert self.type is not None
        if self.type.is_histogram and value < 0 and part is not Part.SUM:
            rule = _Rule.HISTOGRAM_COUNT if part is Part.COUNT else _Rule.BUCKET
            raise NegativeCount(f'{rule.value} for histogram "{self.name}"')

    def add(self, index: int, labels: Labels, part: Part, bound: float) -> None:
        """Take sample *index*. *bound* is its bucket or quantile, NaN if it has none."""
        if self.type is None or self.type.is_simple:
            self.labels.append(labels)
            self.at.append(index)
            return
        metric = self.distribution(labels)
        if part is Part.SUM:
            metric.sum = index
        elif part is Part.COUNT:
            metric.count = index
        elif not math.isnan(bound):
            metric.bounds.append(go_float(bound))
            metric.at.append(index)

    def shape(self) -> FamilyShape:
        """Return what has come in, without the numbers."""
        assert self.type is not None
        if self.type.is_simple:
            return FamilyShape(self.name, self.type, self.help, tuple(self.labels))
        bounds = tuple(tuple(metric.bounds) for metric in self.distributions.values())
        return FamilyShape(self.name, self.type, self.help, tuple(self.distributions), bounds)

    def slots(self) -> list[int]:
        """Return the sample that fills each slot."""
        if self.at:
            return self.at
        return [
            sample
            for metric in self.distributions.values()
            for sample in (*metric.at, metric.sum, metric.count)
        ]

    def counts(self, start: int) -> list[tuple[int, _Rule, str]]:
        """Return the slots that hold counts; the family's first slot is *start*."""
        assert self.type is not None
        out: list[tuple[int, _Rule, str]] = []
        for metric in self.distributions.values():
            last = start + len(metric.at) + 1
            if not self.type.is_histogram:
                out.append((last, _Rule.SUMMARY_COUNT, self.name))
            else:
                out += [(start + i, _Rule.BUCKET, self.name) for i in range(len(metric.at))]
                out.append((last, _Rule.HISTOGRAM_COUNT, self.name))
            start = last + 1
        return out


def plan(families: list[FamilyBuilder], samples: int) -> tuple[PushShape, Plan]:
    """Return the shape of *families*, and how *samples* values in body order fill it."""
    families = [family for family in families if family.at or family.distributions]
    order: list[int] = []
    counts: list[tuple[int, _Rule, str]] = []
    for family in families:
        counts += family.counts(len(order))
        order += family.slots()
    shape = interned(tuple(family.shape() for family in families))
    pick = None if order == list(range(samples)) else _picker(order)
    is_complete = samples == sum(at != _ZERO for at in order)
    return shape, Plan(is_complete, pick, tuple(counts))


def _picker(order: list[int]) -> Callable[[Sequence[bytes]], tuple[bytes, ...]]:
    if len(order) > 1:
        return itemgetter(*order)
    return lambda values: tuple(values[at] for at in order)


def is_float_histogram(counts: list[bytes]) -> bool:
    """Return whether a histogram with these canonical *counts* has float counts."""
    return not all(is_whole_count(float(count)) for count in counts)
