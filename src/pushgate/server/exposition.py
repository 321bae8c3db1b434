"""The store as bytes: own metrics and all groups, families by name, groups by key.

Nothing is rendered twice. The bytes of each family in each run of groups are kept until
a group of the run changes, and whole stretches of families until anything does. Work is
done in slices: everything here is a generator that yields between them, so that pushes
go on while a scrape is made; what a scrape shows is the store at its first slice.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from pushgate.formats.encoding import NOTHING, Encoding, Piece, joined
from pushgate.formats.negotiation import Accepted, Format
from pushgate.model.grouping import GroupingKey
from pushgate.model.layout import Layout, escape_label_value, header, label_values
from pushgate.model.names import Escaping
from pushgate.model.numbers import exposed, go_float
from pushgate.model.quoting import raw
from pushgate.model.shape import FamilyShape, MetricType, PushShape, interned
from pushgate.server.group import PUSH_FAILURE_TIME, PUSH_TIME, Block, Group
from pushgate.server.store import Store
from pushgate.server.telemetry import Family as OwnSamples, Sample as OwnSample, Telemetry

TIMES_SHAPE = interned((PUSH_FAILURE_TIME, PUSH_TIME))
"""The shape of the two families that every group has."""

# Smaller pieces compress badly alone, and cost more than they save.
_SMALL = 4096
_JOINED_BYTES = 256 << 10
_FAMILIES_PER_SLICE = 100
_BYTES_PER_SLICE = 512 << 10
# Rendered in one go; about two milliseconds.
_LINES_AT_ONCE = 8192


def times_numbers(group: Group) -> bytes:
    """Return the numbers of :data:`TIMES_SHAPE` for *group*."""
    return f"{go_float(group.failed_at / 1e9)} {go_float(group.pushed_at / 1e9)}".encode()


class OwnMetrics(NamedTuple):
    """One family of the server's own metrics: its shape, and the bytes of its metrics."""

    shape: FamilyShape
    metrics: bytes


Part = tuple[Sequence[FamilyShape], list[bytes]]
"""Families and, aligned with them, the bytes of their metrics."""


def left_of(block: Block, metrics: list[bytes]) -> Part:
    """Return the families that are left of *block*, with their part of its *metrics*."""
    families = block.pushed.shape.families
    if not block.dropped:
        return families, metrics
    left = [at for at, family in enumerate(families) if family.name not in block.dropped]
    return [families[at] for at in left], [metrics[at] for at in left]


class View(Protocol):
    """A format of expositions, under one escaping scheme."""

    tail: bytes
    """What stands behind the metrics of a family."""

    def parts(self, groups: Sequence[Group]) -> Iterable[Part]:
        """Yield the families of *groups*; each family's metrics in the order of the groups."""
        ...

    def head(self, family: FamilyShape, help: str | None, length: int) -> bytes:  # noqa: A002 - the word of the format
        """Return what stands before the metrics of *family*, *length* bytes over all groups."""
        ...

    def own(self) -> list[OwnMetrics]:
        """Return the server's own metrics of this moment, ordered by name."""
        ...


class TextView:
    """The text format 0.0.4."""

    tail = b""

    def __init__(self, escaping: Escaping, own: Callable[[], Iterable[OwnSamples]]) -> None:
        self._escaping = escaping
        self._own = own

    def parts(self, groups: Sequence[Group]) -> Iterable[Part]:
        yield from self._rendered([(g.key, TIMES_SHAPE, times_numbers(g)) for g in groups])
        rows = []
        for group in groups:
            for block in group.blocks:
                row = (group.key, block.pushed.shape, block.pushed.numbers)
                if block.dropped:
                    for _, metrics in self._rendered([row]):
                        yield left_of(block, metrics)
                else:
                    rows.append(row)
        by_shape: dict[PushShape, list[_Row]] = {}
        for row in rows:
            by_shape.setdefault(row[1], []).append(row)
        if sum(len(shape.names) for shape in by_shape) > len(
            {n for s in by_shape for n in s.names}
        ):
            yield from self._rendered(rows)  # shapes share families: group by group
            return
        for same in by_shape.values():
            yield from self._rendered(same)

    def _rendered(self, rows: list["_Row"]) -> Iterable[Part]:
        for layout, some in groupby(rows, key=_layout):
            same = list(some)
            shape = same[0][1]
            step = max(1, _LINES_AT_ONCE // max(1, shape.series))
            for start in range(0, len(same), step):
                batch = same[start : start + step]
                values = [label_values(key) for key, _, _ in batch]
                numbers = [numbers for _, _, numbers in batch]
                yield shape.families, layout.render(values, numbers, self._escaping)

    def head(self, family: FamilyShape, help: str | None, length: int) -> bytes:  # noqa: A002, ARG002 - as in View
        return header(family, help, self._escaping)

    def own(self) -> list[OwnMetrics]:
        return _own_text(self._own())


_Row = tuple[GroupingKey, PushShape, bytes]


def _layout(row: _Row) -> Layout:
    key, shape, _ = row
    return shape.layout(key)


class _Run(NamedTuple):
    """What is kept of a run of groups: per family name its bytes, and its first shape."""

    groups: tuple[Group, ...]
    metrics: dict[str, Piece | bytes]
    shapes: dict[str, FamilyShape]


class _Stretch:
    """Metrics that stand next to each other, as pieces and their sum. Grows at the end."""

    def __init__(self, encoding: Encoding) -> None:
        self.pieces: list[Piece] = []
        self.total = NOTHING
        self._encoding = encoding
        self._loose: list[bytes] = []
        self._loose_bytes = 0

    def add(self, metrics: Iterable[Piece | bytes]) -> None:
        """Append *metrics*; small parts are joined before they are encoded."""
        for part in metrics:
            if isinstance(part, bytes):
                self._loose.append(part)
                self._loose_bytes += len(part)
                if self._loose_bytes < _JOINED_BYTES:
                    continue
            self.close()
            if isinstance(part, Piece):
                self._append(part)

    def close(self) -> None:
        """Encode what is still loose."""
        if self._loose:
            self._append(self._encoding.piece(b"".join(self._loose)))
            self._loose, self._loose_bytes = [], 0

    def _append(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.total = joined((self.total, piece))


class _Plan(NamedTuple):
    """All pushed families around the own ones.

    ``stretches`` has one more entry than there are own families: what stands before,
    between and behind them. ``merged`` are the pushed metrics of an own family's name.
    """

    stretches: list[_Stretch]
    merged: dict[str, _Stretch]


class Exposition:
    """Expositions of one store in one format and encoding, and what is kept of them."""

    def __init__(self, store: Store, view: View, encoding: Encoding) -> None:
        self._store = store
        self._view = view
        self._encoding = encoding
        self._runs: dict[bytes, _Run] = {}
        self._plan: tuple[int, tuple[str, ...], _Plan] | None = None

    def scrape(self) -> Generator[None, None, list[bytes]]:
        """Return an exposition in chunks; yield whenever others may run.

        A scrape after nothing changed costs the own metrics. Two of these generators of
        one object must not run at the same time.
        """
        own = self._view.own()
        names = tuple(family.shape.name for family in own)
        revision = self._store.revision
        if self._plan is None or self._plan[:2] != (revision, names):
            runs = yield from self._rendered(self._store.runs())
            plan = yield from self._planned(runs, names)
            self._plan = revision, names, plan
        return self._joined(own, self._plan[2])

    def _joined(self, own: list[OwnMetrics], plan: _Plan) -> list[bytes]:
        pieces = [*plan.stretches[0].pieces]
        total = plan.stretches[0].total
        nothing = _Stretch(self._encoding)
        for family, stretch in zip(own, plan.stretches[1:], strict=True):
            merged = plan.merged.get(family.shape.name, nothing)
            length = len(family.metrics) + merged.total.length
            head = self._view.head(family.shape, family.shape.help, length)
            mine = self._encoding.piece(head + family.metrics)
            tail = [self._encoding.piece(self._view.tail)] if self._view.tail else []
            pieces += [mine, *merged.pieces, *tail, *stretch.pieces]
            total = joined((total, mine, merged.total, *tail, stretch.total))
        return self._encoding.whole(pieces, total)

    def _rendered(self, groups: list[tuple[Group, ...]]) -> Generator[None, None, list[_Run]]:
        """Return all runs, those rendered anew in which a group changed."""
        old, self._runs = self._runs, {}
        for run in groups:
            key = run[0].key.packed
            kept = old.pop(key, None)
            if kept is None or kept.groups != run:
                kept = yield from self._render(run)
            self._runs[key] = kept
        return [*self._runs.values()]

    def _render(self, run: tuple[Group, ...]) -> Generator[None, None, _Run]:
        fragments: dict[str, list[bytes]] = {}
        shapes: dict[str, FamilyShape] = {}
        made = 0
        for families, metrics in self._view.parts(run):
            for family, fragment in zip(families, metrics, strict=True):
                known = fragments.get(family.name)
                if known is not None:
                    known.append(fragment)
                    if fragment and shapes[family.name].untyped_as_text:
                        shapes[family.name] = family
                elif fragment:
                    fragments[family.name] = [fragment]
                    shapes[family.name] = family
            made += sum(map(len, metrics))
            if made > _BYTES_PER_SLICE:
                made = 0
                yield
        yield
        return _Run(run, {n: self._kept(b"".join(f)) for n, f in fragments.items()}, shapes)

    def _kept(self, plain: bytes) -> Piece | bytes:
        return plain if len(plain) < _SMALL else self._encoding.piece(plain)

    def _planned(self, runs: list[_Run], own: tuple[str, ...]) -> Generator[None, None, _Plan]:
        """Return the families of *runs* laid out around the *own* names."""
        pushed: dict[str, list[Piece | bytes]] = {}
        shapes: dict[str, FamilyShape] = {}
        decided: set[str] = set()
        for run in runs:
            for name, metrics in run.metrics.items():
                pushed.setdefault(name, []).append(metrics)
            for name in run.shapes.keys() - decided:
                shape = run.shapes[name]
                if shape.untyped_as_text:  # another type would go for both
                    shapes.setdefault(name, shape)
                    continue
                shapes[name] = shape
                decided.add(name)
            yield
        plan = _Plan([_Stretch(self._encoding) for _ in range(len(own) + 1)], {})
        for count, name in enumerate(sorted(pushed, key=raw)):
            if count % _FAMILIES_PER_SLICE == 0:
                yield
            self._place(plan, own, shapes[name], pushed[name])
        for stretch in (*plan.stretches, *plan.merged.values()):
            stretch.close()
        return plan

    def _place(
        self, plan: _Plan, own: tuple[str, ...], shape: FamilyShape, metrics: list[Piece | bytes]
    ) -> None:
        if shape.name in own:
            plan.merged[shape.name] = stretch = _Stretch(self._encoding)
            stretch.add(metrics)
            return
        length = sum(m.length if isinstance(m, Piece) else len(m) for m in metrics)
        stretch = plan.stretches[bisect_left(own, raw(shape.name), key=raw)]
        stretch.add((self._view.head(shape, shape.help, length), *metrics))
        if self._view.tail:
            stretch.add((self._view.tail,))


class Kept(NamedTuple):
    """An exposition in use. Hold *lock* while scraping it."""

    exposition: Exposition
    lock: asyncio.Lock


class Views:
    """The expositions in use, one for each format, escaping scheme and encoding.

    Scrapers agree with each other, so there are one or two. Each keeps bytes in
    proportion to the store, and is dropped when nobody has asked for it for a while.
    """

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry
        self._used: dict[tuple[Accepted, str], tuple[Kept, float]] = {}

    def get(self, kind: Accepted, encoding: Encoding, now: float) -> Kept:
        """Return the exposition of *kind* in *encoding*; *now* is in seconds."""
        key = (kind, encoding.token)
        kept, _ = self._used.get(key) or (self._new(kind, encoding), now)
        self._used[key] = (kept, now)
        return kept

    def forget_unused(self, before: float) -> None:
        """Drop what was last used before the time *before*."""
        for key in [key for key, (_, used) in self._used.items() if used < before]:
            del self._used[key]

    def _new(self, kind: Accepted, encoding: Encoding) -> Kept:
        view = _view(kind, self._telemetry)
        return Kept(Exposition(self._store, view, encoding), asyncio.Lock())


def _view(kind: Accepted, telemetry: Telemetry) -> View:
    from pushgate.server.protobuf_views import ProtobufView, PrototextView

    match kind.format:
        case Format.TEXT:
            return TextView(kind.escaping, telemetry.families)
        case Format.PROTOBUF:
            return ProtobufView(kind.escaping, telemetry.families)
        case Format.PROTOBUF_COMPACT | Format.PROTOBUF_TEXT:
            multiline = kind.format is Format.PROTOBUF_TEXT
            return PrototextView(kind.escaping, telemetry.families, multiline=multiline)


def _own_text(families: Iterable[OwnSamples]) -> list[OwnMetrics]:
    return [
        OwnMetrics(
            FamilyShape(family.name, MetricType[family.type.upper()], family.help, ()),
            b"".join(map(_own_line, family.samples)),
        )
        for family in families
    ]


def _own_line(sample: OwnSample) -> bytes:
    pairs = b",".join(b'%b="%b"' % (n.encode(), escape_label_value(v)) for n, v in sample.labels)
    braces = b"{%b}" % pairs if pairs else b""
    number = exposed(go_float(sample.value).encode())
    return b"%b%b %b\n" % (sample.name.encode(), braces, number)
