"""Lays a shape out in protobuf under a grouping key, as :mod:`pushgate.model.layout` does in text.

What depends on the shape alone becomes a template with placeholders for grouping labels and
numbers, so that a scrape only fills it.
"""

import struct
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import accumulate, chain
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from pushgate.formats.protobuf.values import SIMPLE_PREFIX, encoded, encoding
from pushgate.formats.protobuf.wire import double, field, varint
from pushgate.formats.slots import doubles
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.layout import Layout, is_mark, ranking
from pushgate.model.names import Escaping, escape
from pushgate.model.quoting import legible, raw
from pushgate.model.shape import Pushed, PushShape
from pushgate.model.slices import Sliced, listing, pausing, releasing

METRICS_AT_ONCE: Final = 512
"""How many metrics are encoded at a time, and how many series several rows may have together."""


def encode_metrics(
    rows: Sequence[tuple[GroupingKey, Pushed]], escaping: Escaping
) -> Iterator[tuple[int, bytes]]:
    """Yield the ``metric`` fields of what some groups hold, each with the position of its family.

    All rows have one shape and keys of the same label names. Several rows may have no more than
    :data:`METRICS_AT_ONCE` series together: then the metrics of a family come in the order of the
    rows. Fields come in pieces, family by family; an empty piece is a pause in which other work
    may run. Labels are complete, and metrics in the order of an exposition. Costs about half a
    microsecond per metric, and much more once for each shape and set of grouping label names.
    """
    key, pushed = rows[0]
    layout = pushed.shape.layout(key)
    schemes = _layouts.setdefault(layout, {})
    escaping = layout.scheme(escaping)
    found = schemes.get(escaping)
    if found is None:
        found = yield from pausing(_laid_out(pushed.shape, layout, escaping), (0, b""))
        schemes[escaping] = found
    yield from found.metrics(rows)


def encode_metric(labels: Labels, value: bytes, escaping: Escaping) -> bytes:
    """Return one ``metric`` field with exactly these *labels* and *value*, which is encoded."""
    return field(4, b"".join(_pair(name, said, escaping) for name, said in labels) + value)


def family_header(family: FamilyShape, escaping: Escaping) -> bytes:
    """Return the fields of *family* that precede its metrics: name 1, help 2, type 3."""
    said = b"" if family.help is None else field(2, legible(family.help).encode())
    return field(1, raw(escape(family.name, escaping))) + said + b"\x18" + varint(family.type)


def _pair(name: str, value: str, escaping: Escaping) -> bytes:
    said = raw(value)
    content = b"%b\x12%b%b" % (_name(name, escaping), varint(len(said)), said)
    return b"\x0a%b%b" % (varint(len(content)), content)


@lru_cache(1000)
def _name(name: str, escaping: Escaping) -> bytes:
    return field(1, raw(escape(name, escaping)))


# Numbers of metrics that are encoded at a time, unless one metric has more.
_SLOTS_AT_ONCE = 1024
_MAX_TEMPLATES = 4  # the keys of a job have about the same length


class _Piece(NamedTuple):
    """Some metrics of the family at the position *family*, in the order of an exposition.

    ``template`` has placeholders for the length of each metric, for each grouping label, and for
    the value. ``sizes`` has the length of the other labels of each metric. ``prefix`` precedes
    the number of a simple type, and is empty for other types.
    """

    family: int
    type: MetricType
    prefix: bytes
    template: bytes
    sizes: tuple[int, ...]
    metrics: tuple[int, ...]
    slots: tuple[range, ...]
    bounds: list[list[bytes]]
    untyped_as_text: bool

    @property
    def is_simple(self) -> bool:
        """Whether each metric consists of labels and one number."""
        return bool(self.prefix) and not self.untyped_as_text

    def unnumbered(self, grouping: int, pairs: int) -> tuple[bytes, int]:
        """Return metrics of a simple type as a template for labels and numbers, and their length.

        *grouping* is the length of the group's labels, *pairs* their number.
        """
        count = len(self.metrics)
        lengths = [size + grouping + len(self.prefix) + 8 for size in self.sizes]
        # Lengths precede what they count, so they are fixed as soon as the grouping labels'
        # length is known. A length of 37 is a percent sign, which % would take for its own.
        sizes = [varint(length) for length in lengths]
        escaped = [size.replace(b"%", b"%%") for size in sizes]
        columns = [escaped, *[[b"%b"] * count] * pairs, [self.prefix + b"%b"] * count]
        text = self.template.replace(b"%%", b"%%%%") % _interleaved(columns)
        return text, count + sum(map(len, sizes)) + sum(lengths)

    def values(self, numbers: Sequence[float], details: Sequence[bytes]) -> list[bytes]:
        """Return the value part of each metric; *numbers* and *details* are the family's."""
        if self.untyped_as_text:
            # With both values it can be read whichever type other groups give the family.
            untyped = SIMPLE_PREFIX[MetricType.UNTYPED]
            both = self._replace(untyped_as_text=False).values(numbers, details)
            return [
                value + untyped + double(numbers[metric])
                for value, metric in zip(both, self.metrics, strict=True)
            ]
        if not details:
            return [self._value(place, numbers) for place in range(len(self.metrics))]
        return [
            details[metric] or self._value(place, numbers)
            for place, metric in enumerate(self.metrics)
        ]

    def _value(self, place: int, numbers: Sequence[float]) -> bytes:
        """Return the value of the metric at *place* in an exposition."""
        if self.prefix:
            return self.prefix + double(numbers[self.metrics[place]])
        slots = self.slots[place]
        return encoded(self.type, self.bounds[place], numbers[slots.start : slots.stop])

    @property
    def is_large(self) -> bool:
        """Whether this is one metric with so many numbers that it is encoded in slices."""
        return len(self.slots[0]) > _SLOTS_AT_ONCE

    def encoding(self, numbers: Sequence[float]) -> Sliced[bytes]:
        """Return the value part of the only metric, a large one."""
        [slots], [bounds] = self.slots, self.bounds
        return encoding(self.type, bounds, numbers[slots.start : slots.stop])

    def filled(self, pairs: Sequence[bytes], values: Sequence[bytes]) -> bytes:
        grouping = sum(map(len, pairs))
        sizes = [
            varint(size + grouping + len(value))
            for size, value in zip(self.sizes, values, strict=True)
        ]
        columns = [sizes, *[[pair] * len(values) for pair in pairs], values]
        return self.template % _interleaved(columns)


def _interleaved(columns: Sequence[Sequence[bytes]]) -> tuple[bytes, ...]:
    return tuple(chain.from_iterable(zip(*columns, strict=True)))


class _Sheet:
    """Adjacent pieces that are filled in one go: several of simple types, or one of another type.

    ``_slots`` are those of simple types, in the order of an exposition.
    """

    def __init__(self) -> None:
        self.pieces: list[_Piece] = []
        self._slots: list[int] = []
        self._templates: dict[int, tuple[bytes, list[slice]]] = {}
        """By the length of the grouping labels: a template, and where to cut it once it is full."""

    @property
    def is_simple(self) -> bool:
        return self.pieces[0].is_simple

    def takes(self, piece: _Piece) -> bool:
        is_simple = self.is_simple and piece.is_simple
        return is_simple and len(self._slots) + len(piece.metrics) <= METRICS_AT_ONCE

    def add(self, piece: _Piece, first: int) -> None:
        """Append *piece*; the numbers of its family start at the slot *first* of the shape."""
        self.pieces.append(piece)
        if piece.is_simple:
            self._slots += [first + slots.start for slots in piece.slots]

    def numbered(self, pairs: Sequence[bytes], numbers: bytes) -> list[bytes]:
        """Return the metrics of each piece; *numbers* are those of the shape, as doubles."""
        grouping = sum(map(len, pairs))
        template = self._templates.get(grouping)
        if template is None:
            made = [piece.unnumbered(grouping, len(pairs)) for piece in self.pieces]
            ends = [*accumulate((length for _, length in made), initial=0)]
            template = b"".join(text for text, _ in made), [*map(slice, ends, ends[1:])]
            if len(self._templates) < _MAX_TEMPLATES:
                self._templates[grouping] = template
        # One % for all metrics: each takes the labels of the group, then its number.
        filling = [*pairs, b""] * len(self._slots)
        filling[len(pairs) :: len(pairs) + 1] = self._picked(numbers)
        text, cuts = template
        filled = text % tuple(filling)
        return [filled[cut] for cut in cuts]

    @cached_property
    def _picked(self) -> Callable[[bytes], Sequence[bytes]]:
        """Takes the numbers of the sheet out of those of the shape, as doubles."""
        first, count = self._slots[0], len(self._slots)
        if self._slots == [*range(first, first + count)]:
            return struct.Struct(f"{8 * first}x{count * '8s'}").unpack_from
        places = [slice(8 * slot, 8 * slot + 8) for slot in self._slots]
        return lambda numbers: [numbers[place] for place in places]


class _Row(NamedTuple):
    """What is pushed to a group, encoded: its labels, and its numbers as doubles."""

    pairs: list[bytes]
    numbers: bytes
    details: tuple[bytes, ...]


class _ProtobufLayout(NamedTuple):
    """A shape under the label names of a grouping key, in one escaping scheme.

    ``slots`` and ``firsts`` have the first slot and the first metric of each family, and finally
    the number of all. ``is_marked`` says whether the labels of the group are still to be filled in.
    """

    sheets: list[_Sheet]
    slots: tuple[int, ...]
    firsts: list[int]
    escaping: Escaping
    is_marked: bool

    def metrics(self, rows: Sequence[tuple[GroupingKey, Pushed]]) -> Iterator[tuple[int, bytes]]:
        """Yield what :func:`encode_metrics` does."""
        if not self.sheets:
            return
        line = b" ".join([pushed.numbers for _, pushed in rows])
        numbers = yield from pausing(doubles(line), (0, b""))
        size = 8 * self.slots[-1]
        read: list[_Row] = []
        for at, (key, pushed) in enumerate(rows):
            labels = key.labels if self.is_marked else ()
            pairs = [_pair(name, value, self.escaping) for name, value in labels]
            read.append(_Row(pairs, numbers[at * size : (at + 1) * size], pushed.details))
        is_plain = not any(row.details for row in read)
        for sheet in self.sheets:
            if is_plain and sheet.is_simple:
                filled = [sheet.numbered(row.pairs, row.numbers) for row in read]
                for piece, metrics in zip(sheet.pieces, zip(*filled, strict=True), strict=True):
                    yield piece.family, b"".join(metrics)
                continue
            for row in read:
                for piece in sheet.pieces:
                    yield piece.family, (yield from self._filled(piece, row))

    def _filled(self, piece: _Piece, row: _Row) -> Generator[tuple[int, bytes], None, bytes]:
        at = piece.family
        first, end = self.slots[at], self.slots[at + 1]
        numbers = struct.unpack_from(f"<{end - first}d", row.numbers, 8 * first)
        details = row.details[self.firsts[at] : self.firsts[at + 1]]
        if piece.is_large and not details:
            values = [(yield from pausing(piece.encoding(numbers), (at, b"")))]
        else:
            values = piece.values(numbers, details)
        return piece.filled(row.pairs, values)


class _Written(NamedTuple):
    """The ``order`` of metrics in an exposition, and for each of them in the family a template.

    Beside the template is the length of the metric's labels without those of the group.
    """

    order: list[int]
    templates: list[tuple[bytes, int]]


def _laid_out(shape: PushShape, layout: Layout, escaping: Escaping) -> Sliced[_ProtobufLayout]:
    sheets: list[_Sheet] = []
    starts = [0]
    written: dict[int, _Written] = {}
    for at, family in enumerate(shape.families):
        shared = id(family.labels)  # families often share theirs
        if shared not in written:
            written[shared] = yield from _writing(layout, at, escaping)
        slots = yield from listing(family.metric_slots())
        for some in _batches(written[shared].order, slots):
            yield
            piece = yield from _piece(shape, at, some, slots, written[shared])
            if not (sheets and sheets[-1].takes(piece)):
                sheets.append(_Sheet())
            sheets[-1].add(piece, shape.starts[at])
        starts.append(starts[-1] + len(family.labels))
        yield
    for its in written.values():
        yield from releasing(its.templates)
    return _ProtobufLayout(sheets, shape.starts, starts, escaping, is_marked=layout.is_marked)


def _writing(layout: Layout, family: int, escaping: Escaping) -> Sliced[_Written]:
    metrics = yield from layout.completing(family)
    order = yield from ranking(metrics)
    templates = yield from listing(_template(labels, escaping) for labels in metrics)
    yield from releasing(metrics)
    return _Written(order, templates)


def _template(labels: Labels, escaping: Escaping) -> tuple[bytes, int]:
    own = [b""]  # the labels between those of the group, whose values are marks
    for name, value in labels:
        if is_mark(value):
            own.append(b"")
        else:
            own[-1] += _pair(name, value, escaping)
    escaped = [piece.replace(b"%", b"%%") for piece in own]
    # Tag of ``metric`` (0x22, a quote), length, labels with gaps for the group's, value.
    return b'"%b' + b"%b".join(escaped) + b"%b", sum(map(len, own))


def _batches(order: list[int], slots: list[range]) -> Iterator[list[int]]:
    """Yield the metrics in *order* in batches; a large one is a batch of its own."""
    some: list[int] = []
    size = 0
    for metric in order:
        size += len(slots[metric])
        if some and (len(some) == METRICS_AT_ONCE or size > _SLOTS_AT_ONCE):
            yield some
            some, size = [], len(slots[metric])
        some.append(metric)
    if some:
        yield some


def _piece(
    shape: PushShape, at: int, metrics: list[int], slots: list[range], written: _Written
) -> Sliced[_Piece]:
    family = shape.families[at]
    bounds = []
    for metric in metrics if family.bounds else ():
        its = yield from listing(double(float(b)) for b in family.bounds[metric])
        bounds.append(its)
    templates, sizes = zip(*[written.templates[metric] for metric in metrics], strict=True)
    return _Piece(
        at,
        family.type,
        SIMPLE_PREFIX.get(family.type, b""),
        b"".join(templates),
        sizes,
        tuple(metrics),
        tuple([slots[metric] for metric in metrics]),
        bounds,
        family.untyped_as_text,
    )


# Weak, because a layout lives as long as its shape, which knows nothing of protobuf.
_layouts: WeakKeyDictionary[Layout, dict[Escaping, _ProtobufLayout]] = WeakKeyDictionary()
