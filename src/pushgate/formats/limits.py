"""How much a body holds, counted before anything is made of it.

What takes a few bytes in a body takes hundreds once it is read, so a hostile body must be
refused by a count. Counts are rough, and never higher than what they stand for in anything
clients send; the exact limits apply when a push is admitted.
"""

from collections.abc import Iterator
from typing import NamedTuple

from pushgate.errors import LimitExceeded
from pushgate.formats.protobuf.messages import nested_messages
from pushgate.formats.protobuf.wire import read_fields, read_varint

HARMLESS = 256 << 10
"""A body of so many bytes may hold what it likes."""
_LABELS = 10  # for each series
_COMMENTS = 3  # for each series: HELP, TYPE, UNIT
_LONG_LINE = 8 << 10
_COUNTED_BYTES = 1 << 20
_VALUES = 16  # in a line, each of the most bytes that a label value may have
_SERIES_FLAG = "--limit.series-per-push"
_LABELS_FLAG = "--limit.labels-per-series"
_VALUE_FLAG = "--limit.label-value-bytes"
_SERIES = frozenset({"Metric", "Bucket", "Quantile"})


class BodyLimits(NamedTuple):
    """How large a body may be, and how much it may hold; 0 is no limit.

    ``bytes`` is its size once it is decompressed, ``value`` the bytes of a label value.
    """

    bytes: int = 0
    series: int = 0
    labels: int = 0
    value: int = 0

    def check_series(self, series: int, labels: int = 0) -> None:
        """Raise LimitExceeded if there are more *series*, or *labels* of them all together."""
        if not self.series:
            return
        if series > self.series:
            raise _exceeded(f"more than {self.series} series", _SERIES_FLAG)
        if labels > _LABELS * self.series:
            most = f"{_LABELS * self.series} labels in all, {_LABELS} for each series"
            raise _exceeded(f"more than {most}", _SERIES_FLAG)


UNLIMITED = BodyLimits()


def _exceeded(what: str, flag: str) -> LimitExceeded:
    return LimitExceeded(f"the push has {what} ({flag})", flag=flag)


def check_text(body: bytes, limits: BodyLimits) -> None:
    """Raise LimitExceeded if the lines of *body* hold more than *limits*.

    Costs a few passes over *body*, each at the speed of memory.
    """
    if len(body) <= HARMLESS:
        return
    lines, comments = _count(body, b"\n"), _count(body, b"\n#")
    samples = lines - comments - _count(body, b"\n\n") - 1
    limits.check_series(max(samples, (comments - 1) // _COMMENTS), _quotes(body) // 2)
    for line in _long_lines(body):
        if 0 < _VALUES * limits.value < len(line):  # one regular expression would stop us all
            most = f"{_VALUES * limits.value} bytes in one line, {_VALUES} label values"
            raise _exceeded(f"more than {most}", _VALUE_FLAG)
        # Two quotes for each label, and two around the metric's name.
        max_quotes = 2 * limits.labels + 2
        if limits.labels and not line.startswith(b"#") and _quotes(line) > max_quotes:
            raise _exceeded(f"more than {limits.labels} labels in one series", _LABELS_FLAG)


def _count(body: bytes, piece: bytes) -> int:
    """Count *piece* in *body*, in steps: all other threads wait for one call."""
    more = len(piece) - 1
    starts = range(0, len(body), _COUNTED_BYTES)
    return sum(body.count(piece, at, at + _COUNTED_BYTES + more) for at in starts)


def _quotes(text: bytes) -> int:
    return _count(text, b'"') - _count(text, b'\\"')


def _long_lines(body: bytes) -> Iterator[bytes]:
    """Yield the lines of *body* that are longer than twice _LONG_LINE, and perhaps others."""
    at = 0
    while at < len(body):
        if body.find(b"\n", at, at + _LONG_LINE) >= 0:
            at += _LONG_LINE
            continue
        end = body.find(b"\n", at)
        end = len(body) if end < 0 else end
        yield body[body.rfind(b"\n", 0, at) + 1 : end]
        at = end + 1


def check_protobuf(body: bytes, limits: BodyLimits) -> None:
    """Raise LimitExceeded if the messages of *body* hold more than *limits*.

    Costs about a microsecond for each message, up to the first that is too much.
    """
    if len(body) <= HARMLESS or not limits.series:
        return
    counter, at, families = _Counter(limits), 0, 0
    try:
        while at < len(body):
            size, at = read_varint(body, at)
            families += 1
            limits.check_series(families)
            counter.count(body[at : at + size], "MetricFamily")
            at += size
    except ValueError:
        return  # the parser says what is wrong with it


class _Counter:
    """Counts the messages inside messages, until there are too many."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._series = self._others = 0

    def count(self, message: bytes, kind: str) -> None:
        nested = nested_messages(kind)
        if not nested:
            return
        labels = 0
        for field in read_fields(message):
            name = nested.get(field.number)
            if name is None or isinstance(field.value, int):
                continue
            labels += name == "LabelPair"
            self._take(name, labels)
            self.count(field.value, name)

    def _take(self, name: str, labels: int) -> None:
        if name in _SERIES:
            self._series += 1
        else:
            self._others += 1
        self._limits.check_series(self._series, self._others // 2)
        if 0 < self._limits.labels < labels:
            raise _exceeded(f"more than {self._limits.labels} labels in one series", _LABELS_FLAG)
