"""The groups that readers see, in the order of their keys."""

import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import accumulate
from operator import itemgetter

from pushgate.model.grouping import GroupingKey
from pushgate.server.store.group import Group

# Groups are kept in order in runs of about half to all of this many.
_RUN = 512


class VisibleGroups:
    """What readers see of a store: every group as its last applied change has left it."""

    def __init__(self) -> None:
        """Start empty."""
        self._runs: list[list[bytes]] = []
        self._visible: dict[bytes, Group] = {}
        self.revision = 0
        """Grows with everything that becomes visible."""

    def __len__(self) -> int:
        return len(self._visible)

    def get(self, key: GroupingKey) -> Group | None:
        """Return the visible group *key*."""
        return self._visible.get(key.packed)

    def runs(self) -> list[tuple[Group, ...]]:
        """Return all visible groups in the order of their keys, in runs.

        The runs stay the same while their groups do, so what is made of a run can be
        kept. The result is a snapshot.
        """
        get = self._visible.__getitem__
        return [tuple(map(get, run)) for run in self._runs]

    def groups(self) -> Iterator[Group]:
        """Yield the visible groups in the order of their keys."""
        for run in self.runs():
            yield from run

    def walk(self) -> Iterator[tuple[Group, ...]]:
        """Yield the visible groups in the order of their keys, some hundreds at a time.

        The store may change between two steps: a group that exists all the time is yielded
        once, as it is then. A step costs the same however much is stored.
        """
        done = b""  # sorts before every key
        while True:
            at = bisect_right(self._runs, done, key=itemgetter(0))
            if at and self._runs[at - 1][-1] > done:
                at -= 1
            if at == len(self._runs):
                return
            run = self._runs[at]
            keys = run[bisect_right(run, done) :]
            yield tuple(map(self._visible.__getitem__, keys))
            done = keys[-1]

    def page(self, start: int, count: int) -> list[Group]:
        """Return up to *count* visible groups in the order of their keys, from *start* on."""
        page: list[bytes] = []
        for run in self._runs:
            page += run[start : start + count - len(page)]
            start = max(0, start - len(run))
            if len(page) == count:
                break
        return [*map(self._visible.__getitem__, page)]

    def sample(self, most: int) -> list[Group]:
        """Return *most* of the visible groups, any; all if there are no more."""
        ends = [*accumulate(map(len, self._runs))]
        chosen = random.sample(range(len(self)), min(len(self), most))
        places = ((bisect_right(ends, position), position) for position in chosen)
        return [self._visible[self._runs[at][position - ends[at]]] for at, position in places]

    def _make_room(self, packed: bytes) -> None:
        if not self._runs:
            self._runs.append([packed])
            return
        at = self._run_of(packed)
        run = self._runs[at]
        insort(run, packed)
        if len(run) > _RUN:
            self._runs[at : at + 1] = [run[: _RUN // 2], run[_RUN // 2 :]]

    def _remove(self, group: Group) -> None:
        packed = group.key.packed
        del self._visible[packed]
        at = self._run_of(packed)
        run = self._runs[at]
        del run[bisect_left(run, packed)]
        if not run:
            del self._runs[at]

    def _run_of(self, packed: bytes) -> int:
        """Return the run that holds *packed*, or would."""
        return max(bisect_right(self._runs, packed, key=itemgetter(0)) - 1, 0)
