"""What the store holds for one group."""

import struct
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey
from pushgate.model.shape import Pushed, interned, joining
from pushgate.model.slices import PER_SLICE, Sliced, finished, listing, sorting

PUSH_TIME: Final = FamilyShape(
    "push_time_seconds",
    MetricType.GAUGE,
    "Last Unix time when changing this group in the Pushgateway succeeded.",
    ((),),
)
PUSH_FAILURE_TIME: Final = FamilyShape(
    "push_failure_time_seconds",
    MetricType.GAUGE,
    "Last Unix time when changing this group in the Pushgateway failed.",
    ((),),
)
EXPECTED_INTERVAL: Final = FamilyShape(
    "push_expected_interval_seconds",
    MetricType.GAUGE,
    "Interval at which this group is expected to be pushed, by a rule of the Pushgateway.",
    ((),),
)
TIME_FAMILIES: Final = frozenset({PUSH_TIME.name, PUSH_FAILURE_TIME.name, EXPECTED_INTERVAL.name})
"""The families the server keeps itself; what a push says of them is dropped."""


def without_times(pushed: Pushed) -> Pushed:
    """Return *pushed* without the families that the server keeps itself."""
    if TIME_FAMILIES.isdisjoint(pushed.shape.name_set):
        return pushed
    return pushed.without(TIME_FAMILIES) or pushed._replace(
        shape=interned(()), numbers=b"", details=(), wrong_types=()
    )


class Attempt(NamedTuple):
    """A push of a group, accepted or not; ``time`` is a whole second in Unix nanoseconds."""

    time: int
    is_accepted: bool


MAX_HISTORY: Final = 20
"""How many pushes a group remembers."""
_ATTEMPT_BYTES = 5
_HISTORY_BYTES = MAX_HISTORY * _ATTEMPT_BYTES


def noted(history: bytes, time: int, *, is_accepted: bool) -> bytes:
    """Return *history* with one more push, the oldest forgotten. Five bytes each."""
    attempt = (time // 10**9 << 1 | is_accepted).to_bytes(_ATTEMPT_BYTES, "big")
    return (history + attempt)[-_HISTORY_BYTES:]


# With fewer families than this a block is made anew when some are replaced.
_LARGE = 256
MAX_BLOCKS: Final = 128
"""How many blocks a group has at most: with more, the smaller ones are joined.

So many programs may push their own families to one group, and each of their pushes still has
a known shape.
"""


class Block:
    """What one push, or several, left in a group. Never changed.

    ``received`` is in Unix nanoseconds. Where several pushes were joined, ``times`` has it for
    each family instead, packed as eight bytes; see :meth:`times_of_families`. Families called
    one of ``dropped`` are in ``pushed`` and not in the group any more: a later push has
    replaced them. ``series`` counts those that are left.
    """

    __slots__ = ("dropped", "pushed", "received", "series", "times")

    def __init__(
        self,
        pushed: Pushed,
        received: int,
        dropped: frozenset[str] = frozenset(),
        times: bytes = b"",
    ) -> None:
        self.pushed = pushed
        self.received = received
        self.times = times
        self.dropped = dropped
        self.series = pushed.shape.series
        if dropped:
            self.series -= finished(_series(pushed, dropped))

    @property
    def size(self) -> int:
        """How many families are left."""
        return len(self.pushed.shape.names) - len(self.dropped)

    def times_of_families(self) -> Sequence[int]:
        """Return when each family of ``pushed`` was received, in Unix nanoseconds."""
        count = len(self.pushed.shape.names)
        return struct.unpack(f"<{count}q", self.times) if self.times else (self.received,) * count

    def families(self, names: frozenset[str] | None = None) -> Iterable[FamilyShape]:
        """Return the families that are left; with *names* only those that are called so.

        With *names* it costs time in proportion to them, otherwise to the block.
        """
        shape = self.pushed.shape
        if names is not None:
            at = shape.label_schema.positions
            return (shape.families[at[name]] for name in names - self.dropped if name in at)
        if not self.dropped:
            return shape.families
        return [family for family in shape.families if family.name not in self.dropped]

    def held(self, names: frozenset[str]) -> frozenset[str]:
        """Return those of *names* that are left; costs time in proportion to the fewer ones."""
        held = names & self.pushed.shape.label_schema.name_set
        return held - self.dropped if held else held

    def removal(self, gone: frozenset[str]) -> Sliced["Block | None"]:
        """Return this block less families that it has :meth:`held`; None if nothing is left.

        Costs time in proportion to *gone*, on average over many calls: a large block, and
        one of several pushes, only notes what it has dropped, until that is the half of it.
        """
        shape = self.pushed.shape
        dropped = self.dropped | gone if self.dropped else gone
        # From what several pushes left, many more are going to take their families.
        is_rewritten = len(shape.names) < _LARGE and not self.times
        if is_rewritten or 2 * len(dropped) > len(shape.names):
            return (yield from self.without(dropped))
        rest = copy(self)
        rest.dropped = dropped
        rest.series -= yield from _series(self.pushed, gone)
        return rest

    def without(self, names: frozenset[str]) -> Sliced["Block | None"]:
        """Make the block anew less the families called *names*; None if nothing is left."""
        left = yield from self.pushed.removal(names)
        if left is None or not self.times:
            return None if left is None else Block(left, self.received)
        times: list[int] = []
        received = zip(self.pushed.shape.names, self.times_of_families(), strict=True)
        for number, (name, time) in enumerate(received):
            if number % PER_SLICE == 0:
                yield
            if name not in names:
                times.append(time)
        return Block(left, self.received, times=struct.pack(f"<{len(times)}q", *times))


def _series(pushed: Pushed, names: frozenset[str]) -> Sliced[int]:
    """Return how many series the families of *pushed* have that are called one of *names*."""
    starts, positions = pushed.shape.starts, pushed.shape.label_schema.positions
    places = (positions[name] for name in names)
    return sum((yield from listing(starts[at + 1] - starts[at] for at in places)))


def compaction(blocks: Sequence[Block]) -> Sliced[Sequence[Block]]:
    """Return *blocks*, the smaller ones joined if there are more than :data:`MAX_BLOCKS`.

    What a push costs grows with the blocks of its group. Only half of those allowed are left,
    and the largest are not touched: over many pushes, a family is copied a logarithmic number
    of times, as in a log-structured merge tree.
    """
    if len(blocks) <= MAX_BLOCKS:
        return blocks
    by_size = yield from sorting(blocks, key=lambda block: block.size)
    small, large = by_size[: -MAX_BLOCKS // 2], by_size[-MAX_BLOCKS // 2 :]
    parts: list[Pushed] = []
    times: list[bytes] = []
    for block in small:
        yield
        whole = (yield from block.without(block.dropped)) if block.dropped else block
        if whole is not None:
            count = len(whole.pushed.shape.names)
            parts.append(whole.pushed)
            times.append(whole.times or struct.pack("<q", whole.received) * count)
    joined = yield from joining(parts)
    last = max(block.received for block in small)
    return [Block(joined, last, times=b"".join(times)), *large]


class Failure(NamedTuple):
    """Why a push was refused, cut to a bounded length, and the address it came from."""

    reason: str
    source: str


@dataclass(slots=True, weakref_slot=True, eq=False, kw_only=True)
class Group:
    """A group at one moment: never changed, replaced by the next change of the group.

    ``blocks`` have no family name in common. Times are Unix nanoseconds: ``pushed_at``
    and ``failed_at`` are 0 for never, ``since`` is the group's first push or failure. ``failure``
    is what happened at ``failed_at``, and ``history`` what :func:`noted` made of the last pushes.
    """

    # Not frozen: to make one, which every push does, would take three times as long.
    key: GroupingKey = field(kw_only=False)
    blocks: tuple[Block, ...] = field(kw_only=False)
    pushed_at: int = 0
    failed_at: int = 0
    since: int
    failure: Failure | None = None
    history: bytes = b""

    def pushed(self, blocks: tuple[Block, ...], time: int) -> "Group":
        """Return the group with *blocks* after a push that was accepted at *time*."""
        return Group(
            self.key,
            blocks,
            pushed_at=time,
            failed_at=self.failed_at,
            since=self.since,
            failure=self.failure,
            history=noted(self.history, time, is_accepted=True),
        )

    def failed(self, time: int, failure: Failure | None) -> "Group":
        """Return the group after a push that was refused at *time*."""
        history = noted(self.history, time, is_accepted=False)
        return replace(self, failed_at=time, failure=failure, history=history)

    def without_metrics(self) -> "Group":
        """Return what is left of the group when its metrics have expired: its push times."""
        return replace(self, blocks=())

    @property
    def last_pushed(self) -> int:
        """When the last push succeeded; the first failure if none did."""
        return self.pushed_at or self.since

    @property
    def families(self) -> int:
        """How many metric families the group has, those of its push times left out."""
        return sum(block.size for block in self.blocks)

    @property
    def attempts(self) -> list[Attempt]:
        """The last pushes, oldest first; without a history the last of each kind."""
        if not self.history:
            last = (Attempt(self.pushed_at, True), Attempt(self.failed_at, False))
            return sorted(attempt for attempt in last if attempt.time)
        coded = (
            int.from_bytes(self.history[at : at + _ATTEMPT_BYTES], "big")
            for at in range(0, len(self.history), _ATTEMPT_BYTES)
        )
        return [Attempt((code >> 1) * 10**9, bool(code & 1)) for code in coded]

    @property
    def series(self) -> int:
        """How many series the group has, those of its push times left out."""
        return sum(block.series for block in self.blocks)

    @property
    def last_push_successful(self) -> bool:
        """Whether nothing failed since the last push that succeeded."""
        return self.failed_at <= self.pushed_at
