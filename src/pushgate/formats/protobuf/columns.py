"""Ordinary protobuf bodies read by columns: whole families at once.

In a family of simple metrics with the same label names, only label values and numbers differ
from metric to metric. One regular expression takes them out as columns. That each length on the
wire is that of its content proves that the bytes cannot be read in any other way. All other
bodies are for the scanner (:mod:`pushgate.formats.protobuf.reader`).
"""

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, repeat
from operator import itemgetter
from typing import Final, NamedTuple

from pushgate.formats.families import Part
from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.values import SIMPLE_PREFIX, varint
from pushgate.formats.protobuf.wire import read_varint
from pushgate.formats.slots import SlotMapping
from pushgate.formats.structure import Run, Structure, Unusual, labels_of
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.model.quoting import text
from pushgate.model.shape import FamilyLabelSchema, PushShape, interned

# One call into C may not take long, because all other threads wait.
_MAX_FAMILY_BYTES = 1 << 18
_MAX_PLACES = 10_000
_MAX_LABELS = 16
_MAX_REMEMBERED_HEADER = 500
_SHORT = 0x80  # a shorter length takes one byte
_LABEL_TAG, _METRIC_TAG = 0x0A, 0x22
_VALUE_BYTES = 11
_METRIC_LENGTHS: Final = [varint(size) for size in range(2048)]
# Possessive and bounded, so that nothing is tried twice. Of a label: lengths and name; value,
# which ends before the tag of the next label or of the number.
_METRIC = rb"\x22([\x00-\x7f]|[\x80-\xff][\x01-\x7f])"
_LABEL = rb"\x0a(.\x0a.[^\x12]{1,120}+\x12.)([^\x0a%b]{0,120}+)"


Place = tuple[int, int]
"""Where something stands in a body, and its size."""


class Header(NamedTuple):
    """What stands before the metrics of a family."""

    name: str
    type: MetricType
    help: str | None


def header_of(wire: bytes) -> Header:
    """Return the header of the family that *wire* begins with."""
    return (_remembered_header if len(wire) <= _MAX_REMEMBERED_HEADER else _read_header)(wire)


def _read_header(wire: bytes) -> Header:
    family = message_class("MetricFamily").FromString(wire)
    said = text(family.help) if family.HasField("help") else None
    return Header(text(family.name), MetricType(family.type), said)


_remembered_header = lru_cache(2000)(_read_header)


class Columns(NamedTuple):
    """A body of simple metrics: its shape, its numbers, and where these stand."""

    shape: PushShape
    numbers: tuple[float, ...]
    doubles: tuple[int, ...]
    families: list["_Family"]


class SameLength:
    """Bodies of one length, with label values and numbers at the same places.

    Identifiers and times, which are new in each push, hardly ever change their length.
    """

    def __init__(self, body: bytes, columns: Columns) -> None:
        runs: list[Run] = []
        places: list[Place] = []
        first = 0
        for at, family in enumerate(columns.families):
            samples = range(first, first + len(family.numbers))
            runs.append(family.run(at, samples, len(places)))
            places += family.value_places(columns.doubles[first : samples.stop])
            first = samples.stop
        if not 2 <= len(places) <= _MAX_PLACES or not all(size for _, size in places):
            raise Unusual
        self._count = len(places)
        self._structure = Structure(
            tuple([family.header for family in columns.families]),
            tuple(runs),
            columns.shape.label_schema,
            first,
            SlotMapping(None, (), ()),
        )
        form, order, end = "<", [], 0
        for at, size in sorted([*places, *((at, 0) for at in columns.doubles)]):
            form += f"{at - end}s" + (f"{size}s" if size else "8x")
            order += [False, True] if size else [False]
            end = at + (size or 8)
        self._cut = struct.Struct(f"{form}{len(body) - end}s").unpack
        pieces = self._cut(body)
        is_value = [*order, False]
        self._values = itemgetter(*[at for at, its in enumerate(is_value) if its])
        self._gaps = itemgetter(*[at for at, its in enumerate(is_value) if not its])
        self._around = self._gaps(pieces)

    def shape(self, body: bytes) -> PushShape | None:
        """Return the shape of *body*, of the same length; None if it looks otherwise."""
        pieces = self._cut(body)
        if self._gaps(pieces) != self._around:
            return None
        try:
            inside = b"\n".join(self._values(pieces)).decode().split("\n")
        except UnicodeDecodeError:
            return None
        if len(inside) != self._count:
            return None
        shape, _ = self._structure.assembled(inside, self._structure.label_schema)
        return shape


def read_columns(body: bytes, most_series: int) -> Columns:
    """Return what *body* says, if it has at most *most_series* metrics.

    Raises:
        Unusual, ValueError, IndexError: it is not as ordinary as that.
    """
    families: dict[str, _Family] = {}
    shapes: list[FamilyShape] = []
    schemas: list[FamilyLabelSchema] = []
    labels: dict[object, tuple[Labels, ...]] = {}
    numbers: list[bytes] = []
    doubles: list[int] = []
    longest = at = 0
    while at < len(body):
        size, at = read_varint(body, at)
        family = _Family(body, at, at + size)
        header, at = family.header, family.end
        if not header.name or header.name in families or len(doubles) >= most_series:
            raise Unusual
        key = family.names, family.values, len(family.numbers)
        if key not in labels:
            labels[key] = family.labels()
        families[header.name] = family
        shapes.append(FamilyShape(*header, labels[key]))
        schemas.append(FamilyLabelSchema(*header, _label_names(family.names)))
        numbers += family.numbers
        doubles += family.doubles()
        longest = max(longest, family.longest)
    if len(doubles) > most_series:
        raise Unusual
    shape = interned(tuple(shapes), tuple(schemas))
    shape.values_are_utf8 = True
    shape.longest_value = longest
    values = struct.unpack(f"<{len(numbers)}d", b"".join(numbers))
    return Columns(shape, values, tuple(doubles), [*families.values()])


class _Family:
    """A family between two places of a body, cut into columns."""

    def __init__(self, body: bytes, start: int, end: int) -> None:
        self.end = end
        self._start = at = _end_of_header(body, start)
        if end > len(body) or end - at > _MAX_FAMILY_BYTES:
            raise Unusual
        self.header = header_of(body[start:at])
        rows = _rows(self.header.type, _count_labels(body, at))(body, at, end)
        self._lengths, *columns, self.numbers = zip(*rows, strict=True)
        heads, self.values = columns[0::2], tuple(columns[1::2])
        self.names = tuple([head[0][3:-2] for head in heads])
        self._sizes = [[*map(len, column)] for column in self.values]
        self.longest = max(map(max, self._sizes), default=0)
        for name, head, sizes in zip(self.names, heads, self._sizes, strict=True):
            expected = {size: _label_head(name, size) for size in {*sizes}}
            if [*map(expected.__getitem__, sizes)] != [*head]:
                raise Unusual

    def doubles(self) -> list[int]:
        """Return where the numbers stand; the lengths of the metrics are checked on the way."""
        fixed = _VALUE_BYTES + sum([6 + len(name) for name in self.names])
        own = zip(*self._sizes, strict=True) if self.names else repeat((), len(self._lengths))
        sizes = [fixed + sum(its) for its in own]
        if [_METRIC_LENGTHS[size] for size in sizes] != [*self._lengths]:
            raise Unusual
        whole = [1 + len(own) + size for own, size in zip(self._lengths, sizes, strict=True)]
        starts = [*accumulate(whole, initial=self._start)]
        if starts[-1] != self.end:  # something stands between the metrics
            raise Unusual
        return [end - 8 for end in starts[1:]]

    def value_places(self, doubles: Sequence[int]) -> Iterator[Place]:
        """Yield where each label value stands; *doubles* is where the numbers do."""
        for sizes, end in zip(zip(*self._sizes, strict=True), doubles, strict=False):
            at = end + 8 - _VALUE_BYTES
            places = []
            for name, size in zip(reversed(self.names), reversed(sizes), strict=True):
                at -= size
                places.append((at, size))
                at -= 6 + len(name)
            yield from reversed(places)

    def run(self, place: int, samples: range, first: int) -> Run:
        """Return the family as samples of a structure; its label values begin at *first*."""
        step = len(self.names)
        end = first + step * len(samples)
        columns = tuple([slice(first + at, end, step) for at in self._order])
        names = tuple([self.names[at].decode() for at in self._order])
        return Run(place, Part.BODY, samples, names, columns, None)

    def labels(self) -> tuple[Labels, ...]:
        """Return the labels of each metric, sorted by name."""
        names = [self.names[at].decode() for at in self._order]
        columns = [[*map(bytes.decode, self.values[at])] for at in self._order]
        return tuple(labels_of(names, columns, len(self.numbers)))

    @property
    def _order(self) -> list[int]:
        return sorted(range(len(self.names)), key=self.names.__getitem__)


def _end_of_header(body: bytes, at: int) -> int:
    """Return where the header ends that starts at *at*: name, help, type and unit."""
    while body[at] != _METRIC_TAG:
        match body[at]:
            case 0x0A | 0x12 | 0x2A:
                size, at = read_varint(body, at + 1)
                at += size
            case 0x18 if body[at + 1] < _SHORT:
                at += 2
            case _:
                raise Unusual
    return at


def _count_labels(body: bytes, at: int) -> int:
    """Return how many labels the metric at *at* has."""
    _, at = read_varint(body, at + 1)
    count = 0
    while body[at] == _LABEL_TAG:
        count += 1
        at += 2 + body[at + 1]
    return count


def _label_head(name: bytes, size: int) -> bytes:
    """Return what stands behind the tag of a label and before its value of *size* bytes."""
    length = 4 + len(name) + size
    if length >= _SHORT:
        raise Unusual
    return b"%c\x0a%c%b\x12%c" % (length, len(name), name, size)


@lru_cache
def _rows(kind: MetricType, labels: int) -> Callable[[bytes, int, int], list[tuple[bytes, ...]]]:
    """Return what finds the metrics of a simple type with so many labels.

    Of each: its length; for each label lengths and name, and value; its number.
    """
    if not kind.is_simple or labels > _MAX_LABELS:
        raise Unusual
    number = SIMPLE_PREFIX[kind]
    label, value = _LABEL % re.escape(number[:1]), re.escape(number) + rb"(.{8})"
    return re.compile(_METRIC + labels * label + value, re.DOTALL).findall


@lru_cache(256)
def _label_names(names: tuple[bytes, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset({tuple([name.decode() for name in sorted(names)])})
