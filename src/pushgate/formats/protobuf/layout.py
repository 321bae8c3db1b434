"""How a shape is laid out in protobuf under a grouping key; what Layout is for text."""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple
from weakref import WeakKeyDictionary

from pushgate.formats.protobuf.values import (
    SIMPLE_PREFIX,
    double,
    encoded,
    encoding,
    field,
    varint,
)
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.layout import Layout, is_mark, ranking
from pushgate.model.names import Escaping, escape
from pushgate.model.quoting import raw
from pushgate.model.shape import Pushed, PushShape
from pushgate.model.slices import PER_SLICE, Sliced, listing, pausing, releasing


def encode_metrics(
    pushed: Pushed, key: GroupingKey, escaping: Escaping
) -> Iterator[tuple[int, bytes]]:
    """Yield the ``metric`` fields of *pushed* in the group *key*, with their family's position.

    They come in pieces, family by family; a piece of no bytes is a pause in which other work
    may run. Labels are complete, metrics in the order of an exposition. Costs about a
    microsecond per metric, and once per shape and grouping label names much more.
    """
    layout = pushed.shape.layout(key)
    schemes = _layouts.setdefault(layout, {})
    found = schemes.get(escaping)
    if found is None:
        found = yield from pausing(_laid_out(pushed.shape, layout, escaping), (0, b""))
        schemes[escaping] = found
    yield from found.metrics(key, pushed)


def encode_metric(labels: Labels, value: bytes, escaping: Escaping) -> bytes:
    """Return one ``metric`` field with exactly *labels*, and *value* as ``encoded`` returns it."""
    return field(4, b"".join(_pair(name, said, escaping) for name, said in labels) + value)


def family_header(family: FamilyShape, help: str | None, escaping: Escaping) -> bytes:  # noqa: A002 - the word of the format
    """Return the fields of *family* that come before its metrics: name, help, type."""
    said = b"" if help is None else field(2, raw(help))
    return field(1, raw(escape(family.name, escaping))) + said + b"\x18" + varint(family.type)


def _pair(name: str, value: str, escaping: Escaping) -> bytes:
    return field(1, _name(name, escaping) + field(2, raw(value)))


@lru_cache(1000)
def _name(name: str, escaping: Escaping) -> bytes:
    return field(1, raw(escape(name, escaping)))


# Metrics, and numbers of them, that are encoded in one go; at least one metric.
_METRICS_AT_ONCE = 128
_SLOTS_AT_ONCE = 1024
_MAX_TEMPLATES = 4  # the keys of a job are about as long as each other


class _Piece(NamedTuple):
    """Some metrics of the family at the position *family*, in the order of an exposition.

    ``template`` has for each metric a placeholder for its length, for each grouping label,
    and for its value. ``sizes`` is how long the rest of the labels is. ``prefix`` is that of
    a simple type, whose ``templates``, by the length of the grouping labels, lack only these
    and the eight bytes of each number, which are in those of the shape at ``places``.
    """

    family: int
    type: MetricType
    prefix: bytes
    template: bytes
    sizes: tuple[int, ...]
    metrics: tuple[int, ...]
    places: tuple[int, ...]
    slots: tuple[range, ...]
    bounds: list[list[bytes]]
    untyped_as_text: bool
    templates: dict[int, bytes]

    @property
    def is_simple(self) -> bool:
        """Whether all that is not in the labels is a number for each metric."""
        return bool(self.prefix) and not self.untyped_as_text

    def numbered(self, pairs: Sequence[bytes], numbers: bytes) -> bytes:
        """Return metrics of a simple type; *numbers* are those of the shape, as doubles."""
        grouping, count = sum(map(len, pairs)), len(self.metrics)
        template = self.templates.get(grouping)
        if template is None:
            template = self._template(grouping, len(pairs))
            if len(self.templates) < _MAX_TEMPLATES:
                self.templates[grouping] = template
        its = [numbers[at : at + 8] for at in self.places]
        return template % _interleaved([*[[pair] * count for pair in pairs], its])

    def _template(self, grouping: int, pairs: int) -> bytes:
        count, others = len(self.metrics), grouping + len(self.prefix) + 8
        sizes = [varint(size + others).replace(b"%", b"%%") for size in self.sizes]
        columns = [sizes, *[[b"%b"] * count] * pairs, [self.prefix + b"%b"] * count]
        return self.template.replace(b"%%", b"%%%%") % _interleaved(columns)

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
        """Return the metrics with grouping labels *pairs* and *values*."""
        grouping = sum(map(len, pairs))
        sizes = [
            varint(size + grouping + len(value))
            for size, value in zip(self.sizes, values, strict=True)
        ]
        columns = [sizes, *[[pair] * len(values) for pair in pairs], values]
        return self.template % _interleaved(columns)


def _interleaved(columns: Sequence[Sequence[bytes]]) -> tuple[bytes, ...]:
    return tuple(chain.from_iterable(zip(*columns, strict=True)))


class _ProtobufLayout:
    """A shape under the label names of a grouping key, in one escaping scheme."""

    def __init__(
        self,
        shape: PushShape,
        metrics: list[int],
        pieces: list[_Piece],
        escaping: Escaping,
        *,
        is_marked: bool,
    ) -> None:
        self._escaping = escaping
        self._pieces = pieces
        self._slots = shape.starts
        self._metrics = metrics
        self._is_marked = is_marked

    def metrics(self, key: GroupingKey, pushed: Pushed) -> Iterator[tuple[int, bytes]]:
        """Yield what :func:`encode_metrics` does."""
        labels = key.labels if self._is_marked else ()
        pairs = [_pair(name, value, self._escaping) for name, value in labels]
        numbers = yield from pausing(listing(map(float, pushed.numbers.split())), (0, b""))
        wire = struct.pack(f"<{len(numbers)}d", *numbers)
        for piece in self._pieces:
            at = piece.family
            first, end = self._slots[at], self._slots[at + 1]
            details = pushed.details[self._metrics[at] : self._metrics[at + 1]]
            if piece.is_simple and not details:
                yield at, piece.numbered(pairs, wire)
                continue
            if piece.is_large and not details:
                values = [(yield from pausing(piece.encoding(numbers[first:end]), (at, b"")))]
            else:
                values = piece.values(numbers[first:end], details)
            yield at, piece.filled(pairs, values)


class _Written(NamedTuple):
    """The labels of metrics: their ``order`` in an exposition, and each metric's as a template.

    ``sizes`` is how long a metric's labels are without those of the group.
    """

    order: list[int]
    templates: list[bytes]
    sizes: list[int]


def _laid_out(shape: PushShape, layout: Layout, escaping: Escaping) -> Sliced[_ProtobufLayout]:
    pieces: list[_Piece] = []
    starts = [0]
    written: dict[int, _Written] = {}
    for at, family in enumerate(shape.families):
        shared = id(family.labels)  # families often share theirs
        if shared not in written:
            written[shared] = yield from _writing(layout, at, escaping)
        slots = yield from listing(family.metric_slots())
        for some in _batches(written[shared].order, slots):
            yield
            pieces.append((yield from _piece(shape, at, some, slots, written[shared])))
        starts.append(starts[-1] + len(family.labels))
        yield
    for its in written.values():
        yield from releasing(its.templates)
    return _ProtobufLayout(shape, starts, pieces, escaping, is_marked=layout.is_marked)


def _writing(layout: Layout, family: int, escaping: Escaping) -> Sliced[_Written]:
    metrics = yield from layout.completing(family)
    order = yield from ranking(metrics)
    templates, sizes = [], []
    for number, labels in enumerate(metrics):
        if number % PER_SLICE == PER_SLICE - 1:
            yield
        own = [*_own_pieces(labels, escaping)]
        sizes.append(sum(map(len, own)))
        escaped = [piece.replace(b"%", b"%%") for piece in own]
        templates.append(b'"%b' + b"%b".join(escaped) + b"%b")  # the quote is the field's tag
    yield from releasing(metrics)
    return _Written(order, templates, sizes)


def _batches(order: list[int], slots: list[range]) -> Iterator[list[int]]:
    """Yield the metrics in *order*, some at a time; a large one comes alone."""
    some: list[int] = []
    size = 0
    for metric in order:
        size += len(slots[metric])
        if some and (len(some) == _METRICS_AT_ONCE or size > _SLOTS_AT_ONCE):
            yield some
            some, size = [], len(slots[metric])
        some.append(metric)
    if some:
        yield some


def _piece(
    shape: PushShape, at: int, metrics: list[int], slots: list[range], written: _Written
) -> Sliced[_Piece]:
    family, start = shape.families[at], shape.starts[at]
    bounds = []
    for metric in metrics if family.bounds else ():
        its = yield from listing(double(float(b)) for b in family.bounds[metric])
        bounds.append(its)
    return _Piece(
        at,
        family.type,
        SIMPLE_PREFIX.get(family.type, b""),
        b"".join([written.templates[metric] for metric in metrics]),
        tuple([written.sizes[metric] for metric in metrics]),
        tuple(metrics),
        tuple([8 * (start + slots[metric].start) for metric in metrics]),
        tuple([slots[metric] for metric in metrics]),
        bounds,
        family.untyped_as_text,
        {},
    )


def _own_pieces(labels: Labels, escaping: Escaping) -> Iterator[bytes]:
    """Yield the bytes of *labels* between the grouping labels, which are marks."""
    piece = b""
    for name, value in labels:
        if is_mark(value):
            yield piece
            piece = b""
        else:
            piece += _pair(name, value, escaping)
    yield piece


_layouts: WeakKeyDictionary[Layout, dict[Escaping, _ProtobufLayout]] = WeakKeyDictionary()
