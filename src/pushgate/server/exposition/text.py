"""Expositions in the text format 0.0.4."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey
from pushgate.model.layout import MAX_LINES, Layout, escape_label_value, header, label_values
from pushgate.model.names import Escaping, escape
from pushgate.model.numbers import exposed, go_float
from pushgate.model.shape import PushShape
from pushgate.server.exposition.view import (
    PAUSE,
    TIMES_SHAPE,
    Interval,
    OwnMetrics,
    Piece,
    intervals,
    times_numbers,
)
from pushgate.server.store.group import Group
from pushgate.server.telemetry import Family as OwnSamples, Sample as OwnSample

_Row = tuple[GroupingKey, PushShape, bytes]


class TextView:
    """The text format 0.0.4."""

    def __init__(
        self,
        escaping: Escaping,
        own: Callable[[], Iterable[OwnSamples]],
        interval: Interval = lambda _: 0,
    ) -> None:
        self._escaping = escaping
        self._own = own
        self._interval = interval

    def pieces(self, groups: Sequence[Group]) -> Iterator[Piece]:
        times = [(g.key, TIMES_SHAPE, times_numbers(g)) for g in groups]
        yield PAUSE
        yield from self._rendered(times)
        expected = intervals(groups, self._interval)
        yield from self._rendered([(g.key, pushed.shape, pushed.numbers) for g, pushed in expected])
        blocks = [(g.key, block) for g in groups for block in g.blocks]
        rows = [(key, block.pushed.shape, block.pushed.numbers) for key, block in blocks]
        by_shape: dict[PushShape, list[_Row]] = {}
        for row in rows:
            by_shape.setdefault(row[1], []).append(row)
        names = [shape.names for shape in by_shape]
        if any(block.dropped for _, block in blocks):
            for row, (_, block) in zip(rows, blocks, strict=True):
                for family, piece in self._rendered([row]):
                    yield family, b"" if family.name in block.dropped else piece
        elif sum(map(len, names)) > len(frozenset().union(*names)):
            yield from self._rendered(rows)  # shapes share families: group by group
        else:
            for same in by_shape.values():
                yield from self._rendered(same)

    def _rendered(self, rows: list[_Row]) -> Iterator[Piece]:
        for layout, some in groupby(rows, key=_layout):
            same = list(some)
            shape = same[0][1]
            step = max(1, MAX_LINES // 2 // max(1, shape.series))
            for start in range(0, len(same), step):
                batch = same[start : start + step]
                values = [label_values(key) for key, _, _ in batch]
                numbers = [numbers for _, _, numbers in batch]
                for at, piece in layout.rendering(values, numbers, self._escaping):
                    yield shape.families[at], piece

    def name(self, family: FamilyShape) -> str:
        # Two names may be written alike; a second TYPE line would be an error.
        return escape(family.name, self._escaping)

    def head(self, family: FamilyShape, help: str | None, length: int) -> bytes:  # noqa: A002, ARG002 - as in View
        return header(family, help, self._escaping)

    def own(self) -> list[OwnMetrics]:
        return [
            OwnMetrics(
                FamilyShape(family.name, MetricType[family.type.upper()], family.help, ()),
                b"".join(map(_own_line, family.samples)),
            )
            for family in self._own()
        ]


def _layout(row: _Row) -> Layout:
    key, shape, _ = row
    return shape.layout(key)


def _own_line(sample: OwnSample) -> bytes:
    pairs = b",".join(b'%b="%b"' % (n.encode(), escape_label_value(v)) for n, v in sample.labels)
    braces = b"{%b}" % pairs if pairs else b""
    number = exposed(go_float(sample.value).encode())
    return b"%b%b %b\n" % (sample.name.encode(), braces, number)
