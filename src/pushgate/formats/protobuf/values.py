"""The value of a metric as bytes of its ``Metric`` message: all but labels and timestamp."""

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Final

from pushgate.formats.protobuf.wire import append_varint
from pushgate.model.family import MetricType
from pushgate.model.numbers import is_whole_count

double = Struct("<d").pack
_LARGEST_COUNT = 2**64 - 1

SIMPLE_PREFIX: Final = {
    MetricType.COUNTER: b"\x1a\x09\x09",
    MetricType.GAUGE: b"\x12\x09\x09",
    MetricType.UNTYPED: b"\x2a\x09\x09",
}
"""What stands before the eight bytes of a number: the field, its length, and ``value``."""


def varint(value: int) -> bytes:
    """Return *value* as a varint."""
    if value < len(_SMALL):
        return _SMALL[value]
    out = bytearray()
    append_varint(out, value)
    return bytes(out)


_SMALL: list[bytes] = []
_SMALL += [varint(value) for value in range(2**10)]  # almost every length and count


def field(number: int, content: bytes) -> bytes:
    """Return *content* as the bytes field or embedded message *number*, below 16."""
    return _SMALL[number << 3 | 2] + varint(len(content)) + content


def packed(bounds: Iterable[str]) -> tuple[bytes, ...]:
    """Return buckets or quantiles, written as canonical text, as eight bytes each."""
    return tuple(double(float(bound)) for bound in bounds)


def encoded(kind: MetricType, bounds: Sequence[bytes], numbers: Sequence[float]) -> bytes:
    """Return the value that *numbers* say, fields in ascending order, all of them present.

    Args:
        kind: the type of the family.
        bounds: the buckets or quantiles from :func:`packed`.
        numbers: the numbers of the metric's slots.
    """
    return _ENCODERS[kind](kind, bounds, numbers)


def _simple(kind: MetricType, _bounds: Sequence[bytes], numbers: Sequence[float]) -> bytes:
    return SIMPLE_PREFIX[kind] + double(numbers[0])


def _summary(_kind: MetricType, bounds: Sequence[bytes], numbers: Sequence[float]) -> bytes:
    *points, total, count = numbers
    parts = [b"\x08", varint(min(int(count), _LARGEST_COUNT)), b"\x11", double(total)]
    for bound, point in zip(bounds, points, strict=True):
        parts += (b"\x1a\x12\x09", bound, b"\x11", double(point))
    return field(4, b"".join(parts))


def _histogram(_kind: MetricType, bounds: Sequence[bytes], numbers: Sequence[float]) -> bytes:
    *counts, total, count = numbers
    if not all(map(is_whole_count, counts)) or not is_whole_count(count):
        return _float_histogram(bounds, numbers)
    parts = [b"\x08", varint(int(count)), b"\x11", double(total)]
    for bound, below in zip(bounds, counts, strict=True):
        number = varint(int(below))
        parts += (b"\x1a", _SMALL[10 + len(number)], b"\x08", number, b"\x11", bound)
    return field(7, b"".join(parts))


def _float_histogram(bounds: Sequence[bytes], numbers: Sequence[float]) -> bytes:
    *counts, total, count = numbers
    parts = [b"\x11", double(total)]
    for bound, below in zip(bounds, counts, strict=True):
        parts += (b"\x1a\x12\x11", bound, b"\x21", double(below))
    return field(7, b"".join([*parts, b"\x21", double(count)]))


_Encoder = Callable[[MetricType, Sequence[bytes], Sequence[float]], bytes]
_ENCODERS: Final[dict[MetricType, _Encoder]] = {
    **dict.fromkeys(SIMPLE_PREFIX, _simple),
    MetricType.SUMMARY: _summary,
    MetricType.HISTOGRAM: _histogram,
    MetricType.GAUGE_HISTOGRAM: _histogram,
}
