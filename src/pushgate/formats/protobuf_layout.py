"""How a shape is laid out in protobuf under a grouping key; what Layout is for text."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple
from weakref import WeakKeyDictionary

from pushgate.formats.values import SIMPLE_PREFIX, double, encoded, field, packed, varint
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.layout import Layout, is_mark, ranked
from pushgate.model.names import Escaping, escape
from pushgate.model.quoting import raw
from pushgate.model.shape import FamilyShape, MetricType, Pushed, PushShape


def encode_metrics(pushed: Pushed, key: GroupingKey, escaping: Escaping) -> list[bytes]:
    """Return for each family of *pushed* its ``metric`` fields in the group *key*.

    Labels are complete, metrics in the order of an exposition. Costs about a microsecond
    per metric, and once per shape and grouping label names much more.
    """
    return _layout_of(pushed.shape, key, escaping).metrics(key, pushed)


def encode_metric(labels: Labels, value: bytes, escaping: Escaping) -> bytes:
    """Return one ``metric`` field with exactly *labels*, and *value* as ``encoded`` returns it."""
    return field(4, b"".join(_pair(name, said, escaping) for name, said in labels) + value)


def family_header(family: FamilyShape, help: str | None, escaping: Escaping) -> bytes:  # noqa: A002 - the word of the format
    """Return the fields of *family* that come before its metrics: name, help, type."""
    said = b"" if help is None else field(2, raw(help))
    return field(1, raw(escape(family.name, escaping))) + said + b"\x18" + varint(family.type)


def _pair(name: str, value: str, escaping: Escaping) -> bytes:
    return field(1, field(1, raw(escape(name, escaping))) + field(2, raw(value)))


class _Family(NamedTuple):
    """The metrics of a family, in the order of an exposition.

    ``template`` has for each metric a placeholder for its length, for each grouping label,
    and for its value. ``sizes`` is how long the rest of the labels is. ``prefix`` is that of
    a simple type.
    """

    type: MetricType
    prefix: bytes
    template: bytes
    sizes: tuple[int, ...]
    metrics: tuple[int, ...]
    slots: tuple[range, ...]
    bounds: tuple[tuple[bytes, ...], ...]
    untyped_as_text: bool

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

    def filled(self, pairs: Sequence[bytes], values: Sequence[bytes]) -> bytes:
        """Return the metrics with grouping labels *pairs* and *values*."""
        step, grouping = len(pairs) + 2, sum(map(len, pairs))
        pieces = [b""] * (step * len(values))
        pieces[0::step] = [
            varint(size + grouping + len(value))
            for size, value in zip(self.sizes, values, strict=True)
        ]
        for at, pair in enumerate(pairs, 1):
            pieces[at::step] = [pair] * len(values)
        pieces[step - 1 :: step] = values
        return self.template % tuple(pieces)


class _ProtobufLayout:
    """A shape under the label names of a grouping key, in one escaping scheme."""

    def __init__(self, shape: PushShape, layout: Layout, escaping: Escaping) -> None:
        self._escaping = escaping
        self._starts = shape.starts
        self._families = [
            _laid_out(family, labels, escaping)
            for family, labels in zip(shape.families, layout.labels, strict=True)
        ]
        counts = (len(family.labels) for family in shape.families)
        self._metrics = tuple(accumulate(counts, initial=0))
        self._marked = any(is_mark(v) for family in layout.labels for lb in family for _, v in lb)

    def metrics(self, key: GroupingKey, pushed: Pushed) -> list[bytes]:
        """Return what :func:`encode_metrics` does."""
        labels = key.labels if self._marked else ()
        pairs = [_pair(name, value, self._escaping) for name, value in labels]
        numbers = list(map(float, pushed.numbers.split()))
        places = zip(pairwise(self._starts), pairwise(self._metrics), self._families, strict=True)
        return [
            family.filled(pairs, family.values(numbers[slice(*slots)], pushed.details[slice(*at)]))
            for slots, at, family in places
        ]


def _laid_out(family: FamilyShape, metrics: tuple[Labels, ...], escaping: Escaping) -> _Family:
    order = ranked(metrics)
    slots, template, sizes = list(family.metric_slots()), b"", []
    for at in order:
        own = list(_own_pieces(metrics[at], escaping))
        sizes.append(sum(map(len, own)))
        template += b"\x22%b" + b"%b".join(piece.replace(b"%", b"%%") for piece in own) + b"%b"
    bounds = tuple(packed(family.bounds[at]) for at in order) if family.bounds else ()
    return _Family(
        family.type,
        SIMPLE_PREFIX.get(family.type, b""),
        template,
        tuple(sizes),
        tuple(order),
        tuple(slots[at] for at in order),
        bounds,
        family.untyped_as_text,
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


def _layout_of(shape: PushShape, key: GroupingKey, escaping: Escaping) -> _ProtobufLayout:
    layout = shape.layout(key)
    schemes = _layouts.setdefault(layout, {})
    found = schemes.get(escaping)
    if found is None:
        found = schemes[escaping] = _ProtobufLayout(shape, layout, escaping)
    return found
