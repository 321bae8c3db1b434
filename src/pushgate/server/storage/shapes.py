"""Which shapes the file has, under which ids, and when one is no longer needed."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import NamedTuple

from pushgate.model.shape import PushShape
from pushgate.server.store.group import Group
from pushgate.server.store.store import Step


class ShapeChange(NamedTuple):
    """What a batch does to the shapes of the file. *uses* is the difference in blocks."""

    uses: Counter[PushShape]
    new: dict[PushShape, int]
    unused: dict[PushShape, int]


class ShapeIds:
    """The shapes of the file by id. A shape goes with the last block that has it."""

    def __init__(self) -> None:
        self._ids: dict[PushShape, int] = {}
        self._uses: Counter[PushShape] = Counter()
        self._last = 0

    def load(self, shapes: Mapping[int, PushShape], groups: Iterable[Group]) -> list[int]:
        """Take over what the file has; return the ids of shapes that no group uses."""
        self._uses = Counter(chain.from_iterable(map(_shapes, groups)))
        self._ids = {shape: number for number, shape in shapes.items() if shape in self._uses}
        self._last = max(shapes, default=0)
        return sorted(shapes.keys() - self._ids.values())

    def change(self, steps: Iterable[Step]) -> ShapeChange:
        """Return what *steps*, one for each group, will do. Nothing changes yet."""
        uses: Counter[PushShape] = Counter()
        for before, after, _ in steps:
            old, new = _shapes(before), _shapes(after)
            if old != new:
                uses.update(new)
                uses.subtract(old)
        added = [shape for shape, more in uses.items() if more > 0 and shape not in self._ids]
        return ShapeChange(
            uses,
            {shape: number for number, shape in enumerate(added, self._last + 1)},
            {
                shape: self._ids[shape]
                for shape, more in uses.items()
                if shape in self._ids and self._uses[shape] + more == 0
            },
        )

    def id_of(self, shape: PushShape, change: ShapeChange) -> int:
        """Return the id of *shape* once *change* is made."""
        return change.new.get(shape) or self._ids[shape]

    def apply(self, change: ShapeChange) -> None:
        """Make *change*: it is in the file."""
        self._ids |= change.new
        self._last += len(change.new)
        self._uses.update(change.uses)
        for shape in change.unused:
            del self._ids[shape], self._uses[shape]


def _shapes(group: Group | None) -> list[PushShape]:
    return [block.pushed.shape for block in group.blocks] if group else []
