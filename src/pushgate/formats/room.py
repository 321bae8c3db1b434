"""How much a body holds, counted before anything is made of it.

What takes a few bytes in a body takes hundreds once it is read, so a hostile body must be
refused by a count. Counts are rough, and never higher than what they stand for in anything
clients send; the exact limits apply when a push is admitted.
"""

from collections.abc import Iterator
from typing import NamedTuple

from pushgate.errors import LimitExceeded
from pushgate.formats.messages import nested_messages
from pushgate.formats.wire import read_fields, read_varint

HARMLESS = 256 << 10
"""A body of so many bytes may hold what it likes."""
_LABELS = 10  # for each series
_COMMENTS = 3  # for each series: HELP, TYPE, UNIT
_LONG_LINE = 8 << 10
_VALUES = 16  # in a line, each of the most bytes that a label value may have
_SERIES_FLAG = "--limit.series-per-push"
_LABELS_FLAG = "--limit.labels-per-series"
_VALUE_FLAG = "--limit.label-value-bytes"
_SERIES = frozenset({"Metric", "Bucket", "Quantile"})


class Room(NamedTuple):
    """Most series of a push, labels of a series and bytes of a label value; 0 is no limit."""

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


UNLIMITED = Room()


def _exceeded(what: str, flag: str) -> LimitExceeded:
    return LimitExceeded(f"the push has {what} ({flag})", flag=flag)


def check_text(body: bytes, room: Room) -> None:
    """Raise LimitExceeded if the lines of *body* hold more than *room*.

    Costs a few passes over *body*, each at the speed of memory.
    """
    if len(body) <= HARMLESS:
        return
    lines, comments = body.count(b"\n"), body.count(b"\n#")
    samples = lines - comments - body.count(b"\n\n") - 1
    room.check_series(max(samples, (comments - 1) // _COMMENTS), _quotes(body) // 2)
    for line in _long_lines(body):
        if 0 < _VALUES * room.value < len(line):  # one regular expression would stop us all
            most = f"{_VALUES * room.value} bytes in one line, {_VALUES} label values"
            raise _exceeded(f"more than {most}", _VALUE_FLAG)
        # Two quotes for each label, and two around the metric's name.
        most_quotes = 2 * room.labels + 2
        if room.labels and not line.startswith(b"#") and _quotes(line) > most_quotes:
            raise _exceeded(f"more than {room.labels} labels in one series", _LABELS_FLAG)


def _quotes(text: bytes) -> int:
    return text.count(b'"') - text.count(b'\\"')


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


def check_protobuf(body: bytes, room: Room) -> None:
    """Raise LimitExceeded if the messages of *body* hold more than *room*.

    Costs about a microsecond for each message, up to the first that is too much.
    """
    if len(body) <= HARMLESS or not room.series:
        return
    counter, at, families = _Counter(room), 0, 0
    try:
        while at < len(body):
            size, at = read_varint(body, at)
            families += 1
            room.check_series(families)
            counter.count(body[at : at + size], "MetricFamily")
            at += size
    except ValueError:
        return  # the parser says what is wrong with it


class _Counter:
    """Counts the messages inside messages, until there are too many."""

    def __init__(self, room: Room) -> None:
        self._room = room
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
        self._room.check_series(self._series, self._others // 2)
        if 0 < self._room.labels < labels:
            raise _exceeded(f"more than {self._room.labels} labels in one series", _LABELS_FLAG)
