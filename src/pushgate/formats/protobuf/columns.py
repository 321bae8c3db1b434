"""Reads ordinary protobuf bodies by columns: whole families at once.

In a family of simple metrics with the same label names, only label values and numbers differ
from metric to metric. One regular expression extracts them as columns. The lengths on the wire are
then compared with the contents: if all agree, the bytes have no other reading. Any other body is
left to the scanner (:mod:`pushgate.formats.protobuf.reader`).
"""

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate, repeat
from typing import Final, NamedTuple

from pushgate.formats.families import Part
from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.values import SIMPLE_PREFIX
from pushgate.formats.protobuf.wire import read_varint, varint
from pushgate.formats.relabeling import MAX_NEW, Relabeling
from pushgate.formats.shapecache import remembered
from pushgate.formats.slots import SlotMapping
from pushgate.formats.structure import Run, Structure, Unusual, labels_of
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.model.quoting import text
from pushgate.model.shape import FamilyLabelSchema, PushShape, interned

_MAX_HEADER_BYTES = 64 << 10
# A regular expression holds the GIL until it returns, which takes milliseconds for this much.
_MAX_FAMILY_BYTES = 1 << 18
# struct compiles a format of two items for each place, which also holds the GIL.
_MAX_PLACES = 10_000
_MAX_LABELS = 16
_SHORT = 0x80  # a shorter length takes one byte
_LABEL_TAG, _METRIC_TAG = 0x0A, 0x22
_VALUE_BYTES = 11  # tag and length of the value, tag of the double, the double
# A longer metric makes an IndexError, and its body unusual.
_METRIC_LENGTHS: Final = [varint(size) for size in range(2048)]
# Possessive and bounded, so that nothing is tried twice: the time is linear, whatever was sent.
# A metric has one or two bytes of length. The groups of a label are its lengths and name, and its
# value, which ends before the tag of the next label (0A) or of the number.
_METRIC = rb"\x22([\x00-\x7f]|[\x80-\xff][\x01-\x7f])"
_LABEL = rb"\x0a(.\x0a.[^\x12]{1,120}+\x12.)([^\x0a%b]{0,120}+)"


Place = tuple[int, int]
"""The position of something in a body, and its size."""


class Header(NamedTuple):
    """What precedes the metrics of a family."""

    name: str
    type: MetricType
    help: str | None


def header_end(body: bytes, at: int, end: int) -> tuple[int, MetricType]:
    """Return where the header at *at* of a family ends, and the type in it.

    Raises:
        Unusual, ValueError, IndexError: it is not as clients write it.
    """
    kind, start = MetricType.COUNTER, at
    while at < end and body[at] != _METRIC_TAG:
        match body[at]:
            case 0x0A | 0x12 | 0x2A:  # name 1, help 2, unit 5
                size, at = read_varint(body, at + 1)
                at += size
            case 0x18:  # type 3
                kind, at = _TYPES[body[at + 1]], at + 2
            case _:
                raise Unusual
    if at > end or at - start > _MAX_HEADER_BYTES:  # a length is wrong, or to be looked at
        raise Unusual
    return at, kind


_TYPES: Final = tuple(MetricType)


@remembered(entries=2000, longest=500)
def header_of(wire: bytes) -> Header:
    """Return the header of the family that *wire* begins with."""
    family = message_class("MetricFamily").FromString(wire)
    said = text(family.help) if family.HasField("help") else None
    return Header(text(family.name), MetricType(family.type), said)


class Columns(NamedTuple):
    """A body of simple metrics: its shape, its numbers, and their positions.

    ``families`` is empty if there is too much in them for :class:`SameLength`.
    """

    shape: PushShape
    numbers: tuple[float, ...]
    doubles: tuple[int, ...]
    families: list["_Family"]


class _Places:
    """Takes out what stands at some places of a body, if all else is as it was."""

    def __init__(self, body: bytes, places: Sequence[Place], doubles: Sequence[int]) -> None:
        form, end = "", 0
        for at, size in places:
            form += f"{at - end}x{size}s"
            end = at + size
        self._unpack = struct.Struct(form).unpack_from
        # Compared as one integer, which costs less than to cut a body at all these places.
        mask = bytearray(b"\xff" * len(body))
        for at, size in [*places, *((at, 8) for at in doubles)]:
            mask[at : at + size] = bytes(size)
        self._mask = int.from_bytes(mask, "little")
        self._around = int.from_bytes(body, "little") & self._mask

    def found(self, body: bytes) -> tuple[bytes, ...] | None:
        """Return what *body* has there; None if it differs elsewhere, except for its numbers."""
        if int.from_bytes(body, "little") & self._mask != self._around:
            return None
        return self._unpack(body)


class SameLength:
    """Reads bodies of one length whose label values and numbers are at the same positions.

    Identifiers and times, which are new in each push, hardly ever change their length. Where only
    those are new that all metrics of the first family have, the others are not read.
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
        self._longest = max(size for _, size in places)
        self._structure = Structure(
            tuple([family.header for family in columns.families]),
            tuple(runs),
            columns.shape.label_schema,
            first,
            columns.shape.starts,
            SlotMapping(None, (), ()),
        )
        self._places = _Places(body, places, columns.doubles)
        self._relabeling: Relabeling | None = None
        with suppress(Unusual):
            self._learn_common(body, columns, places)

    def _learn_common(self, body: bytes, columns: Columns, places: Sequence[Place]) -> None:
        """Learn which label values all metrics of a family have."""
        metrics = columns.families[0].values
        common = list(dict.fromkeys(its[0] for its in metrics if its.count(its[0]) == len(its)))
        if not 0 < len(common) <= MAX_NEW:
            return
        values = self._places.found(body) or ()
        its_places = [place for place, value in zip(places, values, strict=True) if value in common]
        among = [value for value in values if value in common]
        self._same = [[i for i, its in enumerate(among) if its == value] for value in common]
        self._relabeling = Relabeling(columns.shape, [value.decode() for value in common])
        self._common = _Places(body, its_places, columns.doubles)

    def shape(self, body: bytes) -> PushShape | None:
        """Return the shape of *body*, which has the same length; None if its gaps differ."""
        try:
            return self._relabeled(body) or self._assembled(body)
        except UnicodeDecodeError:
            return None

    def _relabeled(self, body: bytes) -> PushShape | None:
        if self._relabeling is None or (found := self._common.found(body)) is None:
            return None
        new: list[str] = []
        for same in self._same:
            value = found[same[0]]
            if any(found[at] != value for at in same):
                return None
            new.append(value.decode())
        return self._relabeling.filled(new)

    def _assembled(self, body: bytes) -> PushShape | None:
        found = self._places.found(body)
        if found is None:
            return None
        # One decode for all. A value with a line feed makes the count wrong.
        inside = b"\n".join(found).decode().split("\n")
        if len(inside) != self._count:
            return None
        structure = self._structure
        shape, _ = structure.assembled(inside, structure.label_schema, self._longest)
        return shape


def read_columns(body: bytes, most_series: int) -> Columns:
    """Return the content of *body*, if it is ordinary and has at most *most_series* metrics.

    Raises:
        Unusual, ValueError, IndexError: it is not.
    """
    families: list[_Family] = []
    names: set[str] = set()
    shapes: list[FamilyShape] = []
    schemas: list[FamilyLabelSchema] = []
    labels: dict[object, tuple[Labels, ...]] = {}
    numbers: list[bytes] = []
    doubles: list[int] = []
    longest = places = at = 0
    while at < len(body):
        size, at = read_varint(body, at)
        family = _Family(body, at, at + size)
        header, at = family.header, family.end
        if not header.name or header.name in names or len(doubles) >= most_series:
            raise Unusual
        # Families of a job often have the same labels; they share one object.
        key = family.names, family.values, len(family.numbers)
        if key not in labels:
            labels[key] = family.labels()
        names.add(header.name)
        # A hundred thousand would be freed at once, in one long call into C.
        places += len(family.numbers) * max(len(family.names), 1)
        if places <= _MAX_PLACES:
            families.append(family)
        shapes.append(FamilyShape(*header, labels[key]))
        schemas.append(FamilyLabelSchema(*header, _label_names(family.names)))
        numbers += family.numbers
        doubles += family.doubles()
        longest = max(longest, family.longest)
    if len(doubles) > most_series:
        raise Unusual
    shape = interned(tuple(shapes), tuple(schemas))
    # Known from the lengths and the decoding, so nobody needs to look at the values again.
    shape.values_are_utf8 = True
    shape.longest_value = longest
    values = struct.unpack(f"<{len(numbers)}d", b"".join(numbers))
    # One after the other, so that other threads can run in between; at the end of the function,
    # they would all be freed in one step.
    for used in (names, labels, numbers, shapes, schemas):
        used.clear()
    return Columns(shape, values, tuple(doubles), families if places <= _MAX_PLACES else [])


class _Family:
    """A family between two places of a body, cut into columns."""

    def __init__(self, body: bytes, start: int, end: int) -> None:
        self.end = end
        self._start = at = header_end(body, start, end)[0]
        if end > len(body) or end - at > _MAX_FAMILY_BYTES:
            raise Unusual
        self.header = header_of(body[start:at])
        # The first metric says how many labels there are. If another one has more or fewer,
        # findall() skips it, and doubles() finds the hole.
        rows = _rows(self.header.type, _count_labels(body, at))(body, at, end)
        self._lengths, *columns, self.numbers = zip(*rows, strict=True)
        heads, self.values = columns[0::2], tuple(columns[1::2])
        # A head is: length of the label, 0A, length of the name, name, 12, length of the value.
        self.names = tuple([head[0][3:-2] for head in heads])
        self._sizes = [[*map(len, column)] for column in self.values]
        self.longest = max(map(max, self._sizes), default=0)
        for name, head, sizes in zip(self.names, heads, self._sizes, strict=True):
            expected = {size: _label_head(name, size) for size in {*sizes}}
            if [*map(expected.__getitem__, sizes)] != [*head]:
                raise Unusual

    def doubles(self) -> list[int]:
        """Return the positions of the numbers; check the lengths of the metrics on the way."""
        # Two tags and three lengths of one byte, and the name, beside each label value.
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
        """Yield the position of each label value, given those of the numbers."""
        for sizes, end in zip(zip(*self._sizes, strict=True), doubles, strict=False):
            at = end + 8 - _VALUE_BYTES
            places = []
            for name, size in zip(reversed(self.names), reversed(sizes), strict=True):
                at -= size
                places.append((at, size))
                at -= 6 + len(name)
            yield from reversed(places)

    def run(self, place: int, samples: range, first: int) -> Run:
        """Return the family as a run of a structure; its label values begin at *first*."""
        step = len(self.names)
        end = first + step * len(samples)
        columns = tuple([slice(first + at, end, step) for at in self._order])
        names = tuple([self.names[at].decode() for at in self._order])
        written = tuple([name.decode() for name in self.names])
        return Run(place, Part.BODY, samples, written, slice(first, end), names, columns, None)

    def labels(self) -> tuple[Labels, ...]:
        """Return the labels of each metric, sorted by name."""
        names = [self.names[at].decode() for at in self._order]
        columns = [[*map(bytes.decode, self.values[at])] for at in self._order]
        return tuple(labels_of(names, columns, len(self.numbers)))

    @property
    def _order(self) -> list[int]:
        return sorted(range(len(self.names)), key=self.names.__getitem__)


def _count_labels(body: bytes, at: int) -> int:
    _, at = read_varint(body, at + 1)
    count = 0
    while body[at] == _LABEL_TAG:
        count += 1
        at += 2 + body[at + 1]
    return count


def _label_head(name: bytes, size: int) -> bytes:
    """Return what follows the tag of a label and precedes its value of *size* bytes."""
    length = 4 + len(name) + size
    if length >= _SHORT:
        raise Unusual
    return b"%c\x0a%c%b\x12%c" % (length, len(name), name, size)


@lru_cache
def _rows(kind: MetricType, labels: int) -> Callable[[bytes, int, int], list[tuple[bytes, ...]]]:
    """Return a function that finds the metrics of a simple type with this number of *labels*.

    For each metric it returns the length; of each label the lengths with the name, and the value;
    and the number.
    """
    if not kind.is_simple or labels > _MAX_LABELS:
        raise Unusual
    number = SIMPLE_PREFIX[kind]
    label, value = _LABEL % re.escape(number[:1]), re.escape(number) + rb"(.{8})"
    return re.compile(_METRIC + labels * label + value, re.DOTALL).findall


@lru_cache(256)
def _label_names(names: tuple[bytes, ...]) -> frozenset[tuple[str, ...]]:
    return frozenset({tuple([name.decode() for name in sorted(names)])})
