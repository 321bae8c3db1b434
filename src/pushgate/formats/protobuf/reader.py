"""Reads delimited ``MetricFamily`` messages the way the reference reads them.

There are three speeds with one result. The protobuf package reads anything (:func:`decode`).
:func:`scan` cuts a body of ordinary messages into its numbers and its *skeleton*, everything else,
in one pass; the shape of a known skeleton is looked up. Where all numbers are doubles, at the same
positions as in an earlier body, one ``struct.unpack`` replaces the pass.
"""

import re
import struct
import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final, NamedTuple

from pushgate.errors import InvalidBody
from pushgate.formats.limits import (
    HARMLESS,
    UNLIMITED,
    BodyLimits,
    check_protobuf,
    may_have_large_integer,
    unparsable,
)
from pushgate.formats.protobuf.columns import (
    Columns,
    Header,
    SameLength,
    header_end,
    header_of,
    read_columns,
)
from pushgate.formats.protobuf.description import is_native, native_inconsistency
from pushgate.formats.protobuf.messages import VALUE_FIELDS, message_class
from pushgate.formats.protobuf.prototext import message_text
from pushgate.formats.protobuf.values import SIMPLE_PREFIX, encoded
from pushgate.formats.protobuf.wire import double, read_varint
from pushgate.formats.shapecache import BoundedCache, ShapeCache, key_cost
from pushgate.formats.slots import written_out
from pushgate.formats.structure import Unusual
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.model.keys import key_of
from pushgate.model.native import MAX_SCHEMA, MIN_SCHEMA
from pushgate.model.numbers import go_float
from pushgate.model.quoting import go_quote, text
from pushgate.model.shape import Pushed, PushShape, WrongType, interned

_QUICK_SERIES: Final = 3000  # at most 20 ms
_double_at = struct.Struct("<d").unpack_from
Span = tuple[int, int]
"""Start and end of the detail of a metric in a body."""


class ProtobufReader:
    """Reads protobuf bodies, and remembers their shapes."""

    def __init__(self, cache_bytes: int = 16 << 20, limits: BodyLimits = UNLIMITED) -> None:
        """Start with an empty cache, which may take *cache_bytes* of memory."""
        self._limits = limits
        self._shapes: ShapeCache[Hashable, None] = ShapeCache(cache_bytes // 2)
        self._fixed: ShapeCache[Hashable, tuple[Span, ...]] = ShapeCache(cache_bytes // 2)
        self._layouts: BoundedCache[int, _Layout] = BoundedCache(_MAX_LAYOUT_BYTES)

    @property
    def cache_bytes(self) -> int:
        return self._shapes.bytes + self._fixed.bytes + self._layouts.bytes

    def read(self, body: bytes) -> Pushed:
        """Return what *body* pushes.

        Takes time in proportion to the body; for a known shape a fraction of that for a new one.

        Raises:
            InvalidBody: *body* is not of the format, with the reference's text; or it
                holds something that no exposition could show.
            LimitExceeded: it holds too much.
        """
        most_series = self._limits.series_per_push
        return self.read_quickly(body, most_series) or decode(body, self._limits)

    def read_quickly(self, body: bytes, most_series: int = _QUICK_SERIES) -> Pushed | None:
        """Do what :meth:`read` does, unless *body* is unusual or has more than *most_series*.

        Then return None: what clients rarely write takes up to a hundred times as long.
        """
        # A job sends bodies of one length with the numbers at the same positions. If everything
        # between them is the same as before, so is the shape.
        layout = self._layouts.get(len(body))
        relabeled: PushShape | None = None
        if layout is not None and layout.unpack is not None:
            pieces = layout.unpack(body)
            key = key_of(pieces[0::2])
            fixed = self._fixed.get(key)
            if fixed is not None:
                shape, spans = fixed
                details = tuple([body[start:end] for start, end in spans])
                return Pushed(shape, written_out(pieces[1::2]), details)
            if layout.same_length:
                relabeled = layout.same_length.shape(body)
            # Once a body with these labels was seen before, its shape is worth remembering.
            if relabeled and not self._fixed.wants(key):
                return Pushed(relabeled, written_out(pieces[1::2]))
        try:
            columns = read_columns(body, most_series or sys.maxsize)
        except (Unusual, ValueError, IndexError):
            return self._scanned(body, most_series)
        new = None if relabeled else columns
        self._remember(body, columns.doubles, (), columns.shape, new)
        return Pushed(columns.shape, written_out(columns.numbers))

    def _scanned(self, body: bytes, most_series: int) -> Pushed | None:
        found = scan(body, most_series)
        if found is None:
            return None
        key = key_of(found.skeleton)
        known = self._shapes.get(key)
        if known:
            shape, _ = known
            if found.doubles:
                self._remember(body, found.doubles, found.spans, shape)
            return found.pushed(shape)
        if found.is_unusual:  # what such values hold was not counted on the way
            check_protobuf(body, self._limits)
        try:
            shape = _shape_of(found.skeleton)
        except (ValueError, IndexError, Unusual):
            return None
        if self._shapes.wants(key):
            self._shapes.put(key, shape, None, key_cost(found.skeleton, len(body)))
        return found.pushed(shape)

    def _remember(
        self,
        body: bytes,
        doubles: tuple[int, ...],
        spans: tuple[Span, ...],
        shape: PushShape,
        columns: Columns | None = None,
    ) -> None:
        layout = self._layouts.get(len(body))
        if layout is None or layout.doubles != doubles:
            self._layouts.put(len(body), _Layout(doubles), 1000 * len(doubles))
            return
        if columns:
            with suppress(Unusual):
                layout.same_length = SameLength(body, columns)
        gaps = layout.compiled(len(body))(body)[0::2]
        key = key_of(gaps)
        if self._fixed.wants(key):
            self._fixed.put(key, shape, spans, key_cost(gaps, len(body)))


_MAX_LAYOUT_BYTES = 4 << 20


class _Layout:
    """The positions of the doubles in the last body of a length. ``unpack`` cuts there.

    It is made when a second body agrees, because making it costs more than a scan.
    """

    __slots__ = ("doubles", "same_length", "unpack")

    def __init__(self, doubles: tuple[int, ...]) -> None:
        self.doubles = doubles
        self.unpack: Callable[[bytes], tuple[Any, ...]] | None = None
        self.same_length: SameLength | None = None

    def compiled(self, length: int) -> Callable[[bytes], tuple[Any, ...]]:
        """Return ``unpack``, for bodies of *length* bytes."""
        if self.unpack is None:
            # Gaps and doubles in turn; the pieces[0::2] are the gaps, the pieces[1::2] numbers.
            ends = [-8, *self.doubles, length]
            gaps = [f"{end - start - 8}s" for start, end in pairwise(ends)]
            self.unpack = struct.Struct("<" + "d".join(gaps)).unpack
        return self.unpack


# --- Any body ---------------------------------------------------------------------------


def decode(body: bytes, limits: BodyLimits = UNLIMITED) -> Pushed:
    """Return what *body* pushes, without any cache. Errors as :meth:`ProtobufReader.read`."""
    check_protobuf(body, limits)
    # The reference keeps families in a map: the later of two with one name replaces the earlier.
    families = {family.name: family for family in messages(body)}
    read = [_family(family) for family in families.values()]
    shape = interned(tuple(family.shape for family in read))
    values = [value for family in read for value in family.values]
    details = tuple(value.detail for value in values)
    return Pushed(
        shape,
        written_out([number for value in values for number in value.numbers]),
        details if any(details) else (),
        timestamped=any(family.timestamped for family in read),
        wrong_types=tuple(
            WrongType(at, metric, value.wrong_type)
            for at, family in enumerate(read)
            for metric, value in enumerate(family.values)
            if value.wrong_type is not None
        ),
    )


def messages(body: bytes) -> Iterator[Any]:
    """Yield each ``MetricFamily`` of *body*.

    Raises:
        InvalidBody: with the reference's text, at the first fault.
    """
    from google.protobuf.message import DecodeError

    parse, at = message_class("MetricFamily").FromString, 0
    while at < len(body):
        try:
            size, at = read_varint(body, at)
        except ValueError:  # to Go, fewer than ten bytes are cut off, and ten are too many
            is_cut = len(body) - at < 10
            raise InvalidBody(
                "unexpected EOF" if is_cut else "proto: variable length integer overflow"
            ) from None
        if size > len(body) - at:
            raise InvalidBody("unexpected EOF")
        try:
            family = parse(body[at : at + size])
        except DecodeError:
            raise unparsable() from None
        yield family
        at += size


class _Value(NamedTuple):
    """The value of one metric; ``wrong_type`` is what it has instead, if it lacks the value."""

    bounds: list[float]
    numbers: list[float]
    detail: bytes = b""
    wrong_type: str | None = None


class _Family(NamedTuple):
    shape: FamilyShape
    values: list[_Value]
    timestamped: bool


def _family(family: Any) -> _Family:
    name, metrics = text(family.name), family.metric
    if family.type not in VALUE_FIELDS:
        raise InvalidBody(
            f"metric family {go_quote(name)} has the unknown type {family.type}; "
            f"there are 0 to {max(MetricType).value}"
        )
    if metrics and not name:
        raise InvalidBody("a metric family has metrics but no name")
    kind = MetricType(family.type)
    timestamped = any(metric.HasField("timestamp_ms") for metric in metrics)
    labels = tuple(
        tuple(sorted([(text(pair.name), text(pair.value)) for pair in m.label], key=itemgetter(0)))
        for m in metrics
    )
    # What is left of a metric is its value, in the form that a detail keeps.
    for metric in metrics:
        metric.ClearField("label")
        metric.ClearField("timestamp_ms")
    values = [_value(kind, name, metric) for metric in metrics]
    bounds = () if kind.is_simple else tuple(tuple(map(go_float, value.bounds)) for value in values)
    said = text(family.help) if family.HasField("help") else None
    return _Family(FamilyShape(name, kind, said, labels, bounds), values, timestamped)


def _value(kind: MetricType, family: str, metric: Any) -> _Value:
    """Return the value of *metric*, which has no labels and no timestamp (any more)."""
    if not metric.HasField(VALUE_FIELDS[kind]):
        if kind is MetricType.GAUGE_HISTOGRAM:
            raise InvalidBody(f"gauge histogram {go_quote(family)} has a metric without histogram")
        return _Value([], [0.0] if kind.is_simple else [0.0, 0.0], wrong_type=message_text(metric))
    bounds, numbers = _read_value(kind, family, metric)
    wire = metric.SerializeToString()
    # The message is kept if it cannot be made again from bounds and numbers. That a histogram
    # has a schema is invisible to encoded(), so it is asked for.
    native = metric.HasField("histogram") and metric.histogram.HasField("schema")
    says_all = not native and wire == encoded(kind, list(map(double, bounds)), numbers)
    return _Value(bounds, numbers, b"" if says_all else wire)


def _read_value(kind: MetricType, family: str, metric: Any) -> tuple[list[float], list[float]]:
    """Return the bounds and the numbers of *metric*."""
    value = getattr(metric, VALUE_FIELDS[kind])
    if kind.is_simple:
        return [], [value.value]
    if kind is MetricType.SUMMARY:
        points = [point.value for point in value.quantile]
        bounds = [point.quantile for point in value.quantile]
        return bounds, [*points, value.sample_sum, float(value.sample_count)]
    if is_native(value):
        if not MIN_SCHEMA <= value.schema <= MAX_SCHEMA:
            raise InvalidBody(
                f"native histogram {go_quote(family)} has the schema {value.schema}; "
                f"use {MIN_SCHEMA} to {MAX_SCHEMA}"
            )
        if wrong := native_inconsistency(value):
            raise InvalidBody(f"native histogram {go_quote(family)} {wrong}")
    # Where both are set, the float one counts, as in the reference.
    counts = [b.cumulative_count_float or float(b.cumulative_count) for b in value.bucket]
    count = value.sample_count_float or float(value.sample_count)
    return [bucket.upper_bound for bucket in value.bucket], [*counts, value.sample_sum, count]


# --- Ordinary bodies --------------------------------------------------------------------


class Scan(NamedTuple):
    """A body cut in one pass: its skeleton determines its shape, whatever its numbers are.

    ``doubles`` has the positions of all numbers if all are doubles, else nothing; ``spans`` those
    of the details. ``is_unusual`` says that the protobuf package had to read some of it.
    """

    skeleton: tuple[bytes, ...]
    numbers: bytes
    details: tuple[bytes, ...]
    doubles: tuple[int, ...]
    spans: tuple[Span, ...]
    is_unusual: bool

    def pushed(self, shape: PushShape) -> Pushed:
        return Pushed(shape, self.numbers, self.details)


def scan(body: bytes, most_series: int = 0) -> Scan | None:
    """Return *body* cut into skeleton and numbers, or None if something in it is unusual.

    More than *most_series* series are unusual, too; 0 is no limit.
    """
    scanner = _Scanner(body, most_series or sys.maxsize)
    try:
        at = 0
        while at < len(body):
            at = scanner.family(at)
    except (IndexError, ValueError, struct.error, InvalidBody, Unusual):
        return None
    return scanner.found() if at == len(body) else None


def _shape_of(skeleton: Sequence[bytes]) -> PushShape:
    """Return the shape of the bodies with *skeleton*.

    Raises:
        Unusual, ValueError, IndexError: a family comes twice, or labels are not as every
            client writes them.
    """
    families: list[tuple[Header, list[Labels], list[Bounds]]] = []
    # Metrics and families of a job often have the same labels; they share one object.
    known: dict[bytes, Labels] = {}
    shared: dict[tuple[Labels, ...], tuple[Labels, ...]] = {}
    for piece in skeleton:  # F a family, B bounds; anything else the labels of a metric
        if piece in known:
            families[-1][1].append(known[piece])
        elif piece.startswith(b"F"):
            families.append((header_of(piece[1:]), [], []))
        elif piece.startswith(b"B"):
            doubles = struct.unpack(f"<{len(piece) // 8}d", piece[1:])
            families[-1][2].append(tuple(map(go_float, doubles)))
        else:
            known[piece] = _ordinary_labels(piece)
            families[-1][1].append(known[piece])
    names = {name for (name, _, _), _, _ in families}
    if len(names) < len(families) or "" in names:
        raise Unusual
    shapes: list[FamilyShape] = []
    for header, metrics, bounds in families:
        labels = shared.setdefault(tuple(metrics), tuple(metrics))
        shapes.append(FamilyShape(*header, labels, () if header.type.is_simple else tuple(bounds)))
    return interned(tuple(shapes))


Bounds = tuple[str, ...]


def _ordinary_labels(wire: bytes) -> Labels:
    """Return the labels in *wire*: ``label`` fields whose lengths take a byte each."""
    pairs: list[tuple[str, str]] = []
    at = 0
    while at < len(wire):
        # 0A, length; in it 0A, length, name, 12, length, value.
        size, name_end = wire[at + 1], at + 4 + wire[at + 3]
        end = at + 2 + size
        is_ordinary = wire[at] == wire[at + 2] == 0x0A and wire[name_end] == 0x12
        if not is_ordinary or size >= 0x80 or end != name_end + 2 + wire[name_end + 1]:
            raise Unusual
        pairs.append((wire[at + 4 : name_end].decode(), wire[name_end + 2 : end].decode()))
        at = end
    if len(pairs) > 1:
        pairs.sort(key=itemgetter(0))
    return tuple(pairs)


# The values that clients write, byte by byte. Anything else, even with the same meaning, is read by
# the protobuf package: a detail is kept as it was sent, and has to be what that would write.
# Tags of a counter: 09 value, 1A created. Of a summary or histogram: 08 count, 11 sum, 1A quantile
# (09 quantile, 11 value) or bucket (08 count, 11 upper bound); created is 22 in a summary and 7A in
# a histogram. Of a time: 08 seconds, 10 nanos; seconds before 1970 take ten bytes and do not match.
# Only minimal varints match. Counts have seven bytes at most: below 2**49, floats are exact.
_COUNT = rb"(?:[\x00-\x7f]|[\x80-\xff]{1,6}[\x01-\x7f])"
_SECONDS = rb"(?:[\x01-\x7f]|[\x80-\xff]{1,8}[\x01-\x7f])"
_NANOS = rb"(?:[\x01-\x7f]|[\x80-\xff]{1,3}[\x01-\x7f]|[\x80-\xff]{4}[\x01-\x07])"
_SHORT = rb"([\x00-\x7f])"  # a length of one byte
_CREATED = rb"%b([\x00-\x7f])((?:\x08" + _SECONDS + rb")?(?:\x10" + _NANOS + rb")?)"
_BUCKET = rb"\x1a([\x0b-\x11])\x08(" + _COUNT + rb")\x11(.{8})"
_QUANTILE = rb"\x1a\x12\x09(.{8})\x11(.{8})"


def _ordinary(template: bytes, created: bytes) -> Callable[[bytes], re.Match[bytes] | None]:
    """Return the full match of a value with *created* as the tag of its creation time.

    Groups: length and content of the value; in it count, sum and points; length and content of
    the creation time.
    """
    tail = rb"(?:" + _CREATED.replace(b"%b", created) + rb")?)"
    return re.compile(template + tail, re.DOTALL).fullmatch


def _uncaptured(pattern: bytes) -> bytes:
    return re.sub(rb"\((?!\?)", b"(?:", pattern)


_HEAD = rb"(" + _COUNT + rb")(\x08(" + _COUNT + rb")\x11(.{8})((?:%b)*)"
_histogram = _ordinary(rb"\x3a" + _HEAD.replace(b"%b", _uncaptured(_BUCKET)), rb"\x7a")
_PATTERNS: Final = {
    MetricType.COUNTER: _ordinary(rb"\x1a" + _SHORT + rb"(\x09()(.{8})()", rb"\x1a"),
    MetricType.SUMMARY: _ordinary(
        rb"\x22" + _HEAD.replace(b"%b", _uncaptured(_QUANTILE)), rb"\x22"
    ),
    MetricType.HISTOGRAM: _histogram,
    MetricType.GAUGE_HISTOGRAM: _histogram,
}
_quantiles = re.compile(_QUANTILE, re.DOTALL).findall
_buckets = re.compile(_BUCKET, re.DOTALL).findall


class _Scanner:
    """Walks a body once, from family to family."""

    def __init__(self, body: bytes, most_series: int) -> None:
        self._body = body
        self._most_series = most_series
        self._skeleton: list[bytes] = []
        self._numbers: list[float] = []
        self._details: list[bytes] = []
        self._doubles: list[int] = []
        self._spans: list[tuple[int, int]] = []
        self._is_unusual = False

    def found(self) -> Scan:
        all_doubles = len(self._doubles) == len(self._numbers)
        detailed = any(self._details)
        return Scan(
            tuple(self._skeleton),
            written_out(self._numbers),
            tuple(self._details) if detailed else (),
            tuple(self._doubles) if all_doubles else (),
            tuple(self._spans) if all_doubles and detailed else (),
            self._is_unusual,
        )

    def family(self, at: int) -> int:
        """Take the family at *at*; return where the next one starts."""
        body = self._body
        size, at = read_varint(body, at)
        end, start = at + size, at
        if end > len(body):
            raise Unusual
        at, kind = header_end(body, start, end)
        # Labels start with another letter, so that a skeleton can be read in one way only.
        self._skeleton.append(b"F" + body[start:at])
        if len(self._skeleton) > 3 * self._most_series:  # as many families as that
            raise Unusual
        prefix = SIMPLE_PREFIX.get(kind, b"")
        while at < end:
            if body[at] != 0x22:
                raise Unusual
            start, size = at + 2, body[at + 1]
            if size >= 0x80:
                size, start = read_varint(body, at + 1)
            at = start + size
            self._metric(kind, prefix, start, at)
        if at != end:
            raise Unusual
        return end

    def _metric(self, kind: MetricType, prefix: bytes, start: int, end: int) -> None:
        body, at = self._body, start
        if len(self._numbers) > self._most_series:
            raise Unusual
        while at < end and body[at] == 0x0A:
            size = body[at + 1]
            if size < 0x80:
                at += 2 + size
            else:
                size, at = read_varint(body, at + 1)
                at += size
        self._skeleton.append(body[start:at])
        if prefix and end - at == 11 and body.startswith(prefix, at):
            self._number(at + 3)
            self._details.append(b"")
            self._spans.append((at, at))
            return
        value = body[at:end]
        if at > end or not self._take(kind, value, at):
            self._unusual_value(kind, value, at)

    def _number(self, at: int) -> None:
        self._doubles.append(at)
        self._numbers += _double_at(self._body, at)

    def _detail(self, start: int, end: int) -> None:
        self._spans.append((start, end))
        self._details.append(self._body[start:end])

    def _take(self, kind: MetricType, value: bytes, at: int) -> bool:
        """Take *value*, whose position is *at*, if it is ordinary; return whether it is."""
        pattern = _PATTERNS.get(kind)
        found = pattern and pattern(value)
        if not found:
            return False
        size, content, count, total, points, created_size, created = found.groups()
        # The pattern took any lengths. If they are not those of their contents, the bytes mean
        # something else.
        created_fits = created is None or created_size[0] == len(created)
        if not created_fits or _integer(size) != len(content):
            return False
        if kind is MetricType.COUNTER:  # it has a creation time, or it would be simple
            self._number(at + 3)
            self._detail(at, at + len(value))
            return True
        if kind is MetricType.SUMMARY:
            quantiles = _quantiles(points)
            bounds = [quantile for quantile, _ in quantiles]
            self._numbers += [_double_at(point)[0] for _, point in quantiles]
        else:
            buckets = _buckets(points)
            if any(size[0] != 10 + len(below) for size, below, _ in buckets):
                return False
            bounds = [bound for _, _, bound in buckets]
            self._numbers += [_integer(below) for _, below, _ in buckets]
        self._skeleton.append(b"B" + b"".join(bounds))
        self._numbers += (_double_at(total)[0], _integer(count))
        self._detail(at, at + (len(value) if created_size else 0))
        return True

    def _unusual_value(self, kind: MetricType, value: bytes, at: int) -> None:
        """Take a value with the protobuf package: a native histogram, or one with exemplars."""
        from google.protobuf.message import DecodeError

        self._is_unusual = True
        # A bucket may take two bytes.
        most_bytes = min(HARMLESS, 4 * self._most_series)
        if len(value) > most_bytes or may_have_large_integer(value):
            raise Unusual
        try:
            metric = message_class("Metric").FromString(value)
        except DecodeError:
            raise Unusual from None
        if metric.label or metric.HasField("timestamp_ms"):
            raise Unusual
        read = _value(kind, "", metric)
        if read.wrong_type is not None:
            raise Unusual
        self._skeleton.append(b"B" + b"".join(map(double, read.bounds)))
        self._numbers += read.numbers
        self._spans.append((at, at + len(value)))
        self._details.append(read.detail)


def _integer(varint: bytes) -> int:
    return varint[0] if len(varint) == 1 else read_varint(varint, 0)[0]
