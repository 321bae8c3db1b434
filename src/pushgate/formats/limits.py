"""Estimates how much a body holds, before it is read.

What takes a few bytes in a body takes hundreds once it is read, so a hostile body must be refused
by counting. The counts are rough. They never exceed the true ones in anything that clients send;
the exact limits apply when a push is admitted.
"""

import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

from pushgate.errors import InvalidBody, LimitExceeded
from pushgate.formats.protobuf.messages import nested_messages
from pushgate.formats.protobuf.wire import read_varint

HARMLESS = 256 << 10
"""A body of this size is not counted: whatever it holds does little harm."""
# No limits of their own: clients stay far below these, and hostile bodies are far above.
_LABELS = 10  # for each series
_COMMENTS = 3  # for each series: HELP, TYPE, UNIT
_FIELDS = 50  # of protobuf messages, for each series
_VALUES = 16  # in a line, or a field of a message, each as long as a label value may be
_LONG_LINE = 8 << 10
# How much one call into C looks at: a match takes longer than a count for each byte.
_MATCHED_BYTES = 64 << 10
_COUNTED_BYTES = 1 << 20
_SERIES_LIMIT = "series-per-push"
_LABELS_LIMIT = "labels-per-series"
_VALUE_LIMIT = "label-value-bytes"
_SERIES = frozenset({"Metric", "Bucket", "Quantile"})


class BodyLimits(NamedTuple):
    """How large a body may be, and how much it may hold; 0 is no limit. Named as the flags."""

    decompressed_bytes: int = 0
    series_per_push: int = 0
    labels_per_series: int = 0
    label_value_bytes: int = 0

    def check_series(self, series: int, labels: int = 0) -> None:
        """Raise LimitExceeded if there are too many *series*, or *labels* on all of them."""
        if not self.series_per_push:
            return
        if series > self.series_per_push:
            raise _exceeded(f"more than {self.series_per_push} series", _SERIES_LIMIT)
        if labels > _LABELS * self.series_per_push:
            most = f"{_LABELS * self.series_per_push} labels in all, {_LABELS} for each series"
            raise _exceeded(f"more than {most}", _SERIES_LIMIT)


UNLIMITED = BodyLimits()


def _exceeded(what: str, limit: str) -> LimitExceeded:
    return LimitExceeded(f"the push has {what}", limit)


def _too_long(what: str, limits: BodyLimits) -> LimitExceeded:
    most = f"{_VALUES * limits.label_value_bytes} bytes in {what}, {_VALUES} label values"
    return _exceeded(f"more than {most}", _VALUE_LIMIT)


def check_text(body: bytes, limits: BodyLimits) -> None:
    """Raise LimitExceeded if the lines of *body* hold more than *limits*.

    Costs a few passes over *body*, each at the speed of memory.
    """
    if len(body) <= HARMLESS:
        return
    lines, comments = _count(body, b"\n"), _count(body, b"\n#")
    # Indented comments count as samples: no client writes any. Each label has two quotes.
    samples = lines - comments - _count(body, b"\n\n") - 1
    limits.check_series(max(samples, (comments - 1) // _COMMENTS), _quotes(body) // 2)
    for line in _long_lines(body):
        # Readers match a line with one regular expression, during which all threads wait.
        if 0 < _VALUES * limits.label_value_bytes < len(line):
            raise _too_long("one line", limits)
        # Two quotes for each label, and two around the metric's name.
        max_quotes = 2 * limits.labels_per_series + 2
        if limits.labels_per_series and not line.startswith(b"#") and _quotes(line) > max_quotes:
            raise _exceeded(
                f"more than {limits.labels_per_series} labels in one series", _LABELS_LIMIT
            )


def _count(body: bytes, piece: bytes) -> int:
    """Count *piece* in *body*, in steps: all other threads wait during one call."""
    more = len(piece) - 1
    starts = range(0, len(body), _COUNTED_BYTES)
    return sum(body.count(piece, at, at + _COUNTED_BYTES + more) for at in starts)


def _quotes(text: bytes) -> int:
    return _count(text, b'"') - _count(text, b'\\"')


def _long_lines(body: bytes) -> Iterator[bytes]:
    """Yield the lines of *body* that are longer than twice _LONG_LINE, and perhaps others.

    Looks at one line feed in each _LONG_LINE bytes, not at all of them.
    """
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

    Costs about half a microsecond for each field, up to the first that is too much.

    Raises:
        InvalidBody: an integer has more than 64 bits. The protobuf package would ignore what is
            beyond; the reference refuses it.
    """
    if len(body) <= HARMLESS and not may_have_large_integer(body):
        return
    counter, at, families = _Counter(body, limits), 0, 0
    try:
        while at < len(body):
            size, at = read_varint(body, at)
            families += 1
            limits.check_series(families)
            counter.count(at, at + size, "MetricFamily")
            at += size
    except (ValueError, IndexError):
        return  # the parser says what is wrong with it


# Nine bytes of a varint have 63 bits; the tenth may have one more, so it is 0 or 1.
may_have_large_integer = re.compile(rb"[\x80-\xff]{9}[\x02-\xff]").search
_VARINT = rb"(?:[\x80-\xff]{0,8}[\x00-\x7f]|[\x80-\xff]{9}[\x00\x01])"
_integer = re.compile(_VARINT).match
_integers = re.compile(_VARINT + b"*").match
_HIGH_BYTES = bytes(range(0x80, 0x100))  # all bytes of an integer but the last
_PACKED_INTEGERS = frozenset({("Histogram", 10), ("Histogram", 13)})  # the deltas of buckets


class _Counter:
    """Counts the messages inside messages, until there are too many."""

    def __init__(self, body: bytes, limits: BodyLimits) -> None:
        self._body = body
        self._limits = limits
        self._series = self._others = 0
        self._fields_left = _FIELDS * limits.series_per_push or sys.maxsize
        self._most_bytes = _VALUES * limits.label_value_bytes or sys.maxsize

    def count(self, at: int, end: int, kind: str) -> None:
        """Count what the message *kind* from *at* to *end* holds.

        Raises:
            ValueError, IndexError: it is not of the wire format.
        """
        # Lengths and tags of one byte are read here: a call for each would double the time.
        body, nested = self._body, nested_messages(kind)
        labels = fields = groups = 0
        while at < end:
            fields += 1
            if fields > self._fields_left:
                most = f"{_FIELDS * self._limits.series_per_push} fields, {_FIELDS} for each series"
                raise _exceeded(f"more than {most}", _SERIES_LIMIT)
            tag, at = body[at], at + 1
            if tag >= 0x80:
                tag, at = read_varint(body, at - 1)
            match tag & 7:
                case 2:  # a length, and as many bytes
                    size, at = body[at], at + 1
                    if size >= 0x80:
                        size, at = read_varint(body, at - 1)
                    if size > end - at:
                        raise ValueError
                    name = nested.get(tag >> 3)
                    if name and not groups:
                        labels += name == "LabelPair"
                        self._take(name, labels)
                        self.count(at, at + size, name)
                    elif (kind, tag >> 3) in _PACKED_INTEGERS and not groups:
                        self._check_packed(at, at + size)
                    elif size > self._most_bytes:
                        raise _too_long("one field", self._limits)
                    at += size
                case 0:  # a varint
                    found = _integer(body, at, end)
                    if found is None:
                        raise unparsable()
                    at = found.end()
                case 1 | 5 as wire:
                    at += 8 if wire == 1 else 4
                case 3 | 4 as wire:  # no declared field is a group: what is in it is unknown
                    groups += 1 if wire == 3 else -1
                case _:
                    raise ValueError
        self._fields_left -= fields

    def _check_packed(self, at: int, end: int) -> None:
        """Count integers, and refuse large ones, in steps: all other threads wait during one."""
        while at < end:
            found = _integers(self._body, at, min(end, at + _MATCHED_BYTES))
            if found is None or found.end() == at:
                raise unparsable()
            at = found.end()
            self._others += len(found[0].translate(None, _HIGH_BYTES))
            self._limits.check_series(self._series, self._others // 2)

    def _take(self, name: str, labels: int) -> None:
        if name in _SERIES:
            self._series += 1
        else:
            self._others += 1
        self._limits.check_series(self._series, self._others // 2)
        if 0 < self._limits.labels_per_series < labels:
            raise _exceeded(
                f"more than {self._limits.labels_per_series} labels in one series", _LABELS_LIMIT
            )


def unparsable() -> InvalidBody:
    """Return the reference's error for what is not of the wire format."""
    return InvalidBody("proto: cannot parse invalid wire-format data")
