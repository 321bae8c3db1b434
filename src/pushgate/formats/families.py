"""Collects the families of a text body while its samples come in."""

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple, TypeAlias

from pushgate.formats.slots import MISSING, SlotMapping, slot_mapping
from pushgate.model import shape as shapes
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels

TYPES = {
    **{kind.name.lower(): kind for kind in MetricType},
    "gaugehistogram": MetricType.GAUGE_HISTOGRAM,
}
"""The words of TYPE lines."""


class Part(Enum):
    """The role of a sample in a summary or histogram; the value is the suffix of its name."""

    BODY = ""
    SUM = "_sum"
    COUNT = "_count"


_SUFFIXES = (("_count", Part.COUNT), ("_sum", Part.SUM), ("_bucket", Part.BODY))


class Distribution:
    """A summary or histogram: its bounds as canonical text, and the indexes of its samples."""

    __slots__ = ("at", "bounds", "count", "sum")

    def __init__(self) -> None:
        self.bounds: list[str] = []
        self.at: list[int] = []
        self.sum = self.count = MISSING


class FamilyBuilder:
    """One family. ``type`` is None until a line fixes it.

    A simple family has ``labels`` and ``at``, the labels and the index of each sample; any
    other has ``distributions``.
    """

    __slots__ = ("at", "distributions", "help", "labels", "name", "place", "type")

    def __init__(
        self,
        name: str,
        type: MetricType | None = None,  # noqa: A002 - the word of the format
        help: str | None = None,  # noqa: A002 - the word of the format
        place: int = 0,
    ) -> None:
        self.name = name
        self.type = type
        self.help = help
        self.place = place
        self.labels: list[Labels] = []
        self.at: list[int] = []
        self.distributions: dict[Labels, Distribution] = {}

    def __del__(self) -> None:
        """Pass what takes long to free to :data:`pushgate.model.shape.release`."""
        if shapes.release and len(self.labels) + len(self.distributions) > shapes.LARGE:
            shapes.release([self.labels, [*self.distributions.items()]])

    @property
    def special_label(self) -> str | None:
        """The label that is not one of the metric's own, such as a histogram's ``le``."""
        return None if self.type is None else self.type.own_label

    def distribution(self, labels: Labels) -> Distribution:
        """Return the summary or histogram with *labels*, new if it is not there yet."""
        found = self.distributions.get(labels)
        if found is None:
            found = self.distributions[labels] = Distribution()
        return found

    def shape(self) -> FamilyShape:
        assert self.type is not None
        if self.type.is_simple:
            return FamilyShape(self.name, self.type, self.help, tuple(self.labels))
        bounds = tuple([tuple(metric.bounds) for metric in self.distributions.values()])
        return FamilyShape(self.name, self.type, self.help, tuple(self.distributions), bounds)


Families: TypeAlias = dict[str, FamilyBuilder]
"""The families of a body by name, in the order of their first lines."""


def family_of(name: str, families: Families) -> tuple[FamilyBuilder, Part]:
    """Return the family in *families* that *name* belongs to, and which part it is.

    As in the reference (expfmt, setOrCreateCurrentMF): the family of that very name; else,
    without the suffix, a summary for ``_count`` and ``_sum``, or a histogram for these and
    ``_bucket``; else a new one, which is added.
    """
    family = families.get(name)
    if family is not None:
        return family, Part.BODY
    for suffix, part in _SUFFIXES:
        # Without the suffix, it looks for *name* again, which is not there.
        owner = families.get(name.removesuffix(suffix))
        if owner is not None and owner.type is not None:
            is_summary = owner.type is MetricType.SUMMARY
            if owner.type.is_histogram or (is_summary and part is not Part.BODY):
                return owner, part
    family = families[name] = FamilyBuilder(name, place=len(families))
    return family, Part.BODY


class Assembled(NamedTuple):
    """The families of a shape, and how the samples of the body fill it.

    ``is_complete`` says whether every sample has a slot. Only then can the mapping alone find
    every value that is not a number.
    """

    families: tuple[FamilyShape, ...]
    mapping: SlotMapping
    is_complete: bool


def assemble(families: Iterable[FamilyBuilder], samples: int) -> Assembled:
    """Return *families*, which have *samples* in all; families without samples are left out."""
    order: list[int] = []
    counts: list[int] = []
    summary_counts: list[int] = []
    shapes: list[FamilyShape] = []
    for family in families:
        # A summary's count may be any number, a histogram's must not be negative.
        if family.at:
            order += family.at
        elif family.distributions:
            for metric in family.distributions.values():
                first = len(order)
                order += metric.at
                order += (metric.sum, metric.count)
                if family.type is MetricType.SUMMARY:
                    summary_counts.append(len(order) - 1)
                else:
                    counts += (*range(first, len(order) - 2), len(order) - 1)
        else:
            continue
        shapes.append(family.shape())
    return Assembled(
        tuple(shapes),
        slot_mapping(order, samples, counts, summary_counts),
        is_complete=samples == len(order) - order.count(MISSING),
    )
