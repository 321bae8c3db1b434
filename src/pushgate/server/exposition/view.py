"""The formats of expositions, and what they have in common: which metrics, and in which order."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final, TypeAlias

from pushgate.formats.protobuf.layout import (
    METRICS_AT_ONCE,
    encode_metric,
    encode_metrics,
    family_header,
)
from pushgate.formats.protobuf.values import encoded
from pushgate.formats.protobuf.wire import double, varint
from pushgate.model.family import FamilyShape
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.layout import MAX_LINES, escape_label_value, header, label_values
from pushgate.model.names import Escaping, escape
from pushgate.model.numbers import exposed, go_float
from pushgate.model.shape import Pushed, PushShape, interned
from pushgate.model.slices import pausing
from pushgate.server.store.group import EXPECTED_INTERVAL, PUSH_FAILURE_TIME, PUSH_TIME, Group
from pushgate.server.telemetry import Family as OwnSamples, Sample

TIMES_SHAPE: Final = interned((PUSH_FAILURE_TIME, PUSH_TIME))
"""The shape of the two families that every group has."""


def times_numbers(group: Group) -> bytes:
    """Return the numbers of :data:`TIMES_SHAPE` for *group*."""
    return f"{go_float(group.failed_at / 1e9)} {go_float(group.pushed_at / 1e9)}".encode()


_INTERVAL_SHAPE: Final = interned((EXPECTED_INTERVAL,))
# How long the labels of series that are rendered in one go may be together: each is copied.
_MAX_BYTES: Final = 1 << 20
Interval = Callable[[Group], int]
"""Returns the interval at which a group is expected to be pushed, in nanoseconds; 0 for none."""


Metrics: TypeAlias = tuple[FamilyShape, bytes]
"""A family, and the bytes of some of its metrics."""

PAUSE: Final[Metrics] = (PUSH_TIME, b"")  # the family does not matter

Row: TypeAlias = tuple[GroupingKey, Pushed]
"""Something that a group shows: a block that was pushed, or what the server adds to it."""

Rows: TypeAlias = Sequence[Row]
"""Rows of one shape, in groups whose keys have the same label names."""


class View(ABC):
    """A format of expositions, under one escaping scheme."""

    at_once: int
    """How many series :meth:`render` gets at once; those of one row, if these are more.

    Where labels are long, they are fewer.
    """

    def __init__(self, escaping: Escaping, interval: Interval = lambda _: 0) -> None:
        """Show the *interval* of each group, too."""
        self._escaping = escaping
        self._interval = interval

    def pieces(self, groups: Sequence[Group]) -> Iterator[Metrics]:
        """Yield the metrics of *groups*, which are sorted; each family has the groups in order.

        A step takes some milliseconds at most; one without metrics is a pause in which other work
        may run.
        """
        times = [(group.key, Pushed(TIMES_SHAPE, times_numbers(group))) for group in groups]
        yield PAUSE
        yield from self._in_batches(times)
        expected = [
            (group.key, Pushed(_INTERVAL_SHAPE, go_float(interval / 1e9).encode()))
            for group in groups
            if (interval := self._interval(group))
        ]
        yield from self._in_batches(expected)
        blocks = [(group.key, block) for group in groups for block in group.blocks]
        rows = [(key, block.pushed) for key, block in blocks]
        by_shape: dict[PushShape, list[Row]] = {}
        for row in rows:
            by_shape.setdefault(row[1].shape, []).append(row)
        names = [shape.names for shape in by_shape]
        if any(block.dropped for _, block in blocks):
            # A POST replaced some families of a large block: they are left out one by one.
            for row, (_, block) in zip(rows, blocks, strict=True):
                for family, piece in self.render([row]):
                    yield family, b"" if family.name in block.dropped else piece
        elif sum(map(len, names)) > len(frozenset().union(*names)):
            # Shapes share families. Shape by shape, these would not have their groups in order.
            yield from self._in_batches(rows)
        else:
            for same in by_shape.values():
                yield from self._in_batches(same)

    def _in_batches(self, rows: list[Row]) -> Iterator[Metrics]:
        for _, some in groupby(rows, key=lambda row: row[1].shape.layout(row[0])):
            same = list(some)
            shape = same[0][1].shape
            values = yield from pausing(shape.measuring(), PAUSE)
            longest = max(len(key.packed) for key, _ in same) + values
            step = max(1, min(self.at_once, _MAX_BYTES // longest) // max(1, shape.series))
            for start in range(0, len(same), step):
                yield from self.render(same[start : start + step])

    @abstractmethod
    def render(self, rows: Rows) -> Iterator[Metrics]:
        """Yield the metrics of *rows* of one layout; each family has the rows in order."""

    @abstractmethod
    def render_own(self, family: OwnSamples) -> bytes:
        """Return the metrics of one of the server's own families."""

    @abstractmethod
    def name(self, family: FamilyShape) -> str:
        """Return the name by which families are one in this format."""

    @abstractmethod
    def head(self, family: FamilyShape, length: int) -> bytes:
        """Return what precedes the metrics of *family*, which have *length* bytes in all groups."""


class TextView(View):
    """The text format 0.0.4."""

    at_once = MAX_LINES // 2  # series: a histogram without the bucket +Inf has a line more

    def render(self, rows: Rows) -> Iterator[Metrics]:
        key, pushed = rows[0]
        layout, families = pushed.shape.layout(key), pushed.shape.families
        values = [label_values(key) for key, _ in rows]
        numbers = [pushed.numbers for _, pushed in rows]
        for at, piece in layout.rendering(values, numbers, self._escaping):
            yield families[at], piece

    def render_own(self, family: OwnSamples) -> bytes:
        return b"".join(map(_own_line, family.samples))

    def name(self, family: FamilyShape) -> str:
        # Two names may be written alike; a second TYPE line would be an error.
        return escape(family.name, self._escaping)

    def head(self, family: FamilyShape, length: int) -> bytes:  # noqa: ARG002 - as in View
        return header(family, self._escaping)


def _own_line(sample: Sample) -> bytes:
    pairs = b",".join(b'%b="%b"' % (n.encode(), escape_label_value(v)) for n, v in sample.labels)
    braces = b"{%b}" % pairs if pairs else b""
    number = exposed(go_float(sample.value).encode())
    return b"%b%b %b\n" % (sample.name.encode(), braces, number)


class ProtobufView(View):
    """Delimited ``MetricFamily`` messages."""

    at_once = METRICS_AT_ONCE

    def render(self, rows: Rows) -> Iterator[Metrics]:
        families = rows[0][1].shape.families
        for at, metrics in encode_metrics(rows, self._escaping):
            yield families[at], metrics

    def render_own(self, family: OwnSamples) -> bytes:
        return b"".join(_own_metrics(family, self._escaping))

    def name(self, family: FamilyShape) -> str:
        return family.name

    def head(self, family: FamilyShape, length: int) -> bytes:
        # The length of a delimited message precedes it, and counts all of its metrics.
        header = family_header(family, self._escaping)
        return varint(len(header) + length) + header


def _own_metrics(family: OwnSamples, escaping: Escaping) -> Iterator[bytes]:
    kind = family.head.type
    if kind.is_simple:
        for sample in family.samples:
            yield encode_metric(sample.labels, encoded(kind, (), (sample.value,)), escaping)
        return
    # All others are summaries, whose samples come in the order of text: quantiles, sum, count.
    for labels, group in groupby(family.samples, _labels_of_summary):
        samples = list(group)
        *points, _sum, _count = samples
        ranks = [double(float(dict(point.labels)["quantile"])) for point in points]
        numbers = [sample.value for sample in samples]
        yield encode_metric(labels, encoded(kind, ranks, numbers), escaping)


def _labels_of_summary(sample: Sample) -> Labels:
    return tuple(pair for pair in sample.labels if pair[0] != "quantile")
