"""Expositions of the whole store: own metrics and all groups, families by name, groups by key.

Nothing is rendered twice. The bytes of each family in each run of groups are kept until a group of
the run changes, and whole stretches of families until anything changes. A scrape is made in
slices, so that pushes go on meanwhile; it shows the store as it was at the first slice.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

from pushgate.formats.encoding import NOTHING, Encoding, Piece, joined
from pushgate.formats.negotiation import Accepted, Format
from pushgate.model.family import FamilyShape
from pushgate.model.quoting import raw
from pushgate.model.slices import PER_SLICE, Sliced, sorting
from pushgate.server.exposition.view import Metrics, ProtobufView, TextView, View
from pushgate.server.store.group import Group
from pushgate.server.store.selection import SelectedGroups
from pushgate.server.store.store import Store
from pushgate.server.store.visible import Run
from pushgate.server.telemetry import Family as OwnSamples, Telemetry

# Smaller pieces are kept plain and joined with others: alone they compress badly.
_SMALL = 4096
_JOINED_BYTES = 256 << 10  # encoded at once, in a few milliseconds
_MAX_KEPT = 6  # of 24: a client could ask for all of them, and have them kept
_JOINED_AT_ONCE = 16  # pieces, 0.1 ms each


class _Rendered(NamedTuple):
    """The bytes and the first shape of each family of a run, by name."""

    metrics: dict[str, list[Piece | bytes]]
    shapes: dict[str, FamilyShape]


class _Stretch:
    """Adjacent metrics as encoded pieces, and the sum of these. Grows at the end."""

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
        """Encode what has not been encoded yet."""
        if self._loose:
            self._append(self._encoding.piece(b"".join(self._loose)))
            self._loose, self._loose_bytes = [], 0

    def _append(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.total = joined((self.total, piece))


class _Plan(NamedTuple):
    """All pushed families, arranged around the server's own.

    ``stretches`` has one more entry than there are own families: the families before, between and
    after them. ``merged`` has the pushed metrics of families that have the name of an own one.
    """

    stretches: list[_Stretch]
    merged: dict[str, _Stretch]


class Exposition:
    """Expositions of one store in one format and encoding, with what is kept for the next one.

    Attributes:
        lock: to be held while scraping.
        next: the scrape that has not begun yet; everybody who waits gets the same one.
    """

    def __init__(
        self,
        source: Store | SelectedGroups,
        view: View,
        encoding: Encoding,
        own: Callable[[], Iterable[OwnSamples]] = tuple,
        lock: asyncio.Lock | None = None,
    ) -> None:
        """Show the groups of *source* among *own*, the server's metrics, ordered by name."""
        self.lock = lock or asyncio.Lock()
        self.next: asyncio.Task[tuple[int, list[bytes]]] | None = None
        self._source = source
        self._view = view
        self._encoding = encoding
        self._own = own
        self._rules = source.rules
        # What is made of a run goes with it, as soon as one of its groups changes.
        self._by_run: WeakKeyDictionary[Run, _Rendered] = WeakKeyDictionary()
        self._plan: tuple[int, tuple[str, ...], _Plan] | None = None

    def scrape(self) -> Sliced[list[bytes]]:
        """Return an exposition in chunks; yield whenever other work may run.

        If nothing has changed since the last one, only the own metrics are rendered.
        """
        # No yield comes between own metrics, revision and runs: they are of one moment.
        own = [(family.head, self._view.render_own(family)) for family in self._own()]
        names = tuple(head.name for head, _ in own)
        revision = self._source.revision
        if self._rules is not self._source.rules:  # they are part of what is shown
            self._rules = self._source.rules
            self._by_run.clear()
        if self._plan is None or self._plan[:2] != (revision, names):
            runs = yield from self._rendered(self._source.runs())
            plan = yield from self._planned(runs, names)
            self._plan = revision, names, plan
        return self._joined(own, self._plan[2])

    def _joined(self, own: list[Metrics], plan: _Plan) -> list[bytes]:
        pieces = [*plan.stretches[0].pieces]
        total = plan.stretches[0].total
        nothing = _Stretch(self._encoding)
        mine: list[bytes] = []
        for (head, metrics), stretch in zip(own, plan.stretches[1:], strict=True):
            merged = plan.merged.get(head.name, nothing)
            # Pushed metrics of the same name follow under the same header: a family comes once.
            length = len(metrics) + merged.total.length
            mine += [self._view.head(head, length), metrics]
            # Own families with nothing between them become one piece.
            if merged.pieces or stretch.pieces or head is own[-1][0]:
                piece, mine = self._encoding.piece(b"".join(mine)), []
                pieces += [piece, *merged.pieces, *stretch.pieces]
                total = joined((total, piece, merged.total, stretch.total))
        return self._encoding.whole(pieces, total)

    def _rendered(self, runs: Iterator[Run]) -> Sliced[list[_Rendered]]:
        """Return what is rendered of each of *runs*; of a known one it is kept."""
        out: list[_Rendered] = []
        for run in runs:
            kept = self._by_run.get(run)
            if kept is None:
                self._by_run[run] = kept = yield from self._render(run.groups())
            out.append(kept)
        return out

    def _render(self, groups: list[Group]) -> Sliced[_Rendered]:
        metrics: dict[str, list[Piece | bytes]] = {}
        shapes: dict[str, FamilyShape] = {}
        loose: dict[str, list[bytes]] = {}
        for family, piece in self._view.pieces(groups):
            yield
            if not piece:
                continue
            name = self._view.name(family)
            _choose(shapes, name, family)
            parts = loose.setdefault(name, [])
            parts.append(piece)
            if len(piece) > _SMALL and sum(map(len, parts)) > _JOINED_BYTES:
                metrics.setdefault(name, []).append(self._kept(parts))
                parts.clear()
        for name, parts in loose.items():
            yield
            if parts:
                metrics.setdefault(name, []).append(self._kept(parts))
        return _Rendered(metrics, shapes)

    def _kept(self, parts: list[bytes]) -> Piece | bytes:
        plain = b"".join(parts)
        return plain if len(plain) < _SMALL else self._encoding.piece(plain)

    def _planned(self, runs: list[_Rendered], own: tuple[str, ...]) -> Sliced[_Plan]:
        """Return the families of *runs*, arranged around the *own* names."""
        pushed: dict[str, list[Piece | bytes]] = {}
        shapes: dict[str, FamilyShape] = {}
        for run in runs:
            for number, (name, metrics) in enumerate(run.metrics.items()):
                if number % PER_SLICE == 0:
                    yield
                pushed.setdefault(name, []).extend(metrics)
                _choose(shapes, name, run.shapes[name])
        plan = _Plan([_Stretch(self._encoding) for _ in range(len(own) + 1)], {})
        # As bytes, by which the reference sorts.
        order = yield from sorting([*pushed], lambda name: raw(shapes[name].name))
        for name in order:
            yield
            yield from self._place(plan, own, name, shapes[name], pushed[name])
        for stretch in (*plan.stretches, *plan.merged.values()):
            stretch.close()
            yield
        return plan

    def _place(
        self,
        plan: _Plan,
        own: tuple[str, ...],
        name: str,
        shape: FamilyShape,
        metrics: list[Piece | bytes],
    ) -> Sliced[None]:
        if name in own:  # its header comes from the own family
            plan.merged[name] = stretch = _Stretch(self._encoding)
        else:
            length = sum(m.length if isinstance(m, Piece) else len(m) for m in metrics)
            stretch = plan.stretches[bisect_left(own, raw(shape.name), key=raw)]
            stretch.add((self._view.head(shape, length),))
        for at in range(0, len(metrics), _JOINED_AT_ONCE):
            stretch.add(metrics[at : at + _JOINED_AT_ONCE])
            yield


def _choose(shapes: dict[str, FamilyShape], name: str, family: FamilyShape) -> None:
    """Take the header of *name* from *family* if it is the first, or tells more than the first.

    An OpenMetrics counter tells less: it agrees with whichever type the others have.
    """
    first = shapes.setdefault(name, family)
    if first.untyped_as_text and not family.untyped_as_text:
        shapes[name] = family


class Expositions:
    """The expositions in use, one for each format, escaping scheme and encoding.

    Scrapers ask for the same, so there are one or two. Each keeps bytes in proportion to the
    store: so it is dropped when nobody has asked for it for a while, or for others since.
    """

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry
        self._used: dict[tuple[Accepted, str], tuple[Exposition, float]] = {}
        self._one_at_a_time = asyncio.Lock()

    def get(self, kind: Accepted, encoding: Encoding, now: float) -> Exposition:
        """Return the exposition of *kind* in *encoding*; *now* is in seconds."""
        key = (kind, encoding.token)
        exposition, _ = self._used.pop(key, (None, now))
        if exposition is None:
            own = self._telemetry.families
            exposition = Exposition(self._store, self._view(kind), encoding, own)
        self._used[key] = (exposition, now)
        if len(self._used) > _MAX_KEPT:
            del self._used[next(iter(self._used))]  # asked for longest ago
        return exposition

    def of(self, groups: SelectedGroups, kind: Accepted, encoding: Encoding) -> Exposition:
        """Return the exposition of *groups* alone, without the server's own metrics.

        Nothing of it is kept, because the number of possible selections is unlimited. All share a
        lock, so that only one at a time takes memory.
        """
        return Exposition(groups, self._view(kind), encoding, lock=self._one_at_a_time)

    def forget_unused(self, before: float) -> None:
        """Drop what was last used before the time *before*."""
        for key in [key for key, (_, used) in self._used.items() if used < before]:
            del self._used[key]

    def _view(self, kind: Accepted) -> View:
        interval = self._store.expected_interval
        match kind.format:
            case Format.TEXT:
                return TextView(kind.escaping, interval)
            case Format.PROTOBUF:
                return ProtobufView(kind.escaping, interval)
