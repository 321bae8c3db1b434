"""The ids of the shapes in a journal, and how many blocks use each shape."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from itertools import chain
from typing import NamedTuple

from pushgate.model.shape import PushShape
from pushgate.server.store.group import Group
from pushgate.server.store.store import Step


class ShapeChange(NamedTuple):
    """The effect of a batch on the shapes in the journal. ``uses`` has differences."""

    uses: Counter[PushShape]
    new: dict[PushShape, int]
    unused: dict[PushShape, int]


class ShapeIds:
    """The shapes in the journal by id. A shape is deleted with the last block that uses it."""

    def __init__(self) -> None:
        self._ids: dict[PushShape, int] = {}
        self._uses: Counter[PushShape] = Counter()
        self.last = 0
        """The largest id that was assigned so far."""

    def __contains__(self, shape: object) -> bool:
        return shape in self._ids

    def load(self, shapes: Mapping[int, PushShape], groups: Iterable[Group]) -> list[int]:
        """Take over the contents of the journal; return the ids of shapes that no group uses."""
        self._uses = Counter(chain.from_iterable(map(shapes_of, groups)))
        self._ids = {shape: number for number, shape in shapes.items() if shape in self._uses}
        self.last = max(shapes, default=0)
        return sorted(shapes.keys() - self._ids.values())

    def change(self, steps: Iterable[Step]) -> ShapeChange:
        """Return what *steps*, one for each group, will do. Nothing changes yet."""
        uses: Counter[PushShape] = Counter()
        for before, after, _ in steps:
            old, new = shapes_of(before), shapes_of(after)
            if old != new:  # most pushes change no shape, only numbers
                uses.update(new)
                uses.subtract(old)
        added = [shape for shape, more in uses.items() if more > 0 and shape not in self._ids]
        return ShapeChange(
            uses,
            {shape: number for number, shape in enumerate(added, self.last + 1)},
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
        """Make *change*, which is now in the journal."""
        self._ids |= change.new
        self.last += len(change.new)
        self._uses.update(change.uses)
        # A Counter keeps entries of zero, and with them the shape.
        for shape in change.unused:
            del self._ids[shape], self._uses[shape]

    def follow(self, new: Mapping[int, PushShape], uses: Counter[PushShape]) -> list[int]:
        """Take over *new* shapes and a difference in *uses*; return the ids that were deleted."""
        self._ids |= {shape: number for number, shape in new.items()}
        self._uses.update(uses)
        # A new shape may be unused already: what used it was changed again before this look.
        touched = {*uses, *new.values()}
        gone = [shape for shape in touched if self._uses[shape] == 0]
        for shape in gone:
            del self._uses[shape]
        return [self._ids.pop(shape) for shape in gone if shape in self._ids]


def told_apart(
    decoded: Iterable[tuple[int, PushShape]], known: Container[PushShape] = ()
) -> dict[int, PushShape]:
    """Return shapes by id, each of them a different object, and none of them in *known*.

    Label values that are new each time make a new shape for each push, so equal families may be
    stored under several ids. Decoding interns them into one shape, but which group uses which id
    has to stay known, or a shape would be deleted that is still in use.
    """
    found: dict[int, PushShape] = {}
    seen: set[PushShape] = set()
    for number, shape in decoded:
        is_taken = shape in seen or shape in known
        found[number] = PushShape(shape.families, shape.label_schema) if is_taken else shape
        seen.add(found[number])
    return found


def shapes_of(group: Group | None) -> list[PushShape]:
    """Return the shapes of the blocks of *group*."""
    return [block.pushed.shape for block in group.blocks] if group else []
