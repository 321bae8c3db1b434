"""The ids that a journal has given to groups and shapes, and how many blocks use each shape."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from pushgate.model.shape import PushShape
from pushgate.server.storage.codec import encode_group, encode_shape
from pushgate.server.store.group import Group
from pushgate.server.store.store import Step


class Batch(NamedTuple):
    """What some steps, one for each group, change in a journal.

    Attributes:
        steps: the steps.
        groups: the ids of their groups, by key.
        new: the shapes that they add, with their ids.
        unused: the shapes whose last block they remove, likewise.
        uses: how many more blocks than before use each shape.
        last_group, last_shape: the largest ids assigned after it.
    """

    steps: Sequence[Step]
    groups: dict[bytes, int]
    new: dict[PushShape, int]
    unused: dict[PushShape, int]
    uses: Counter[PushShape]
    last_group: int
    last_shape: int

    @property
    def deleted(self) -> list[int]:
        """The ids of the groups that are deleted."""
        return [self.groups[step.key.packed] for step in self.steps if not step.after]

    def shape_rows(self) -> Iterator[tuple[int, bytes]]:
        """Yield id and encoded families of each new shape."""
        return ((number, encode_shape(number, shape)) for shape, number in self.new.items())


class Ids:
    """The ids of the groups and shapes in a journal, and the largest ones assigned so far.

    A shape is deleted with the last block that uses it.
    """

    def __init__(self) -> None:
        self.groups: dict[bytes, int] = {}
        self.shapes: dict[PushShape, int] = {}
        self._uses: Counter[PushShape] = Counter()
        self.last_group = 0
        self.last_shape = 0

    def load(
        self, ids: dict[bytes, int], shapes: Mapping[int, PushShape], groups: Iterable[Group]
    ) -> list[int]:
        """Take over the contents of the journal; return the ids of shapes that no group uses.

        *ids* has those of *groups*, by key.
        """
        self.groups = ids
        self._uses = Counter(chain.from_iterable(map(shapes_of, groups)))
        self.shapes = {shape: number for number, shape in shapes.items() if shape in self._uses}
        self.last_group = max(ids.values(), default=0)
        self.last_shape = max(shapes, default=0)
        return sorted(shapes.keys() - self.shapes.values())

    def batch(self, steps: Sequence[Step]) -> Batch:
        """Return what *steps*, one for each group, will do. Nothing changes yet."""
        groups: dict[bytes, int] = {}
        last = self.last_group
        uses: Counter[PushShape] = Counter()
        for step in steps:
            key = step.key.packed
            number = self.groups.get(key)
            if number is None:
                number = last = last + 1
            groups[key] = number
            old, new = shapes_of(step.before), shapes_of(step.after)
            if old != new:  # most pushes change no shape, only numbers
                uses.update(new)
                uses.subtract(old)
        added = [shape for shape, more in uses.items() if more > 0 and shape not in self.shapes]
        return Batch(
            steps,
            groups,
            {shape: number for number, shape in enumerate(added, self.last_shape + 1)},
            {
                shape: self.shapes[shape]
                for shape, more in uses.items()
                if shape in self.shapes and self._uses[shape] + more == 0
            },
            uses,
            last,
            self.last_shape + len(added),
        )

    def group_rows(self, batch: Batch) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield id, key and encoded state of each group that *batch* does not delete."""

        def shape_id(shape: PushShape) -> int:
            return batch.new.get(shape) or self.shapes[shape]

        for step in batch.steps:
            if step.after:
                key = step.key.packed
                yield batch.groups[key], key, encode_group(step.after, shape_id)

    def apply(self, batch: Batch) -> None:
        """Take in *batch*, which is now in the journal."""
        self.groups |= batch.groups
        for step in batch.steps:
            if not step.after:
                del self.groups[step.key.packed]
        self.shapes |= batch.new
        self.last_group, self.last_shape = batch.last_group, batch.last_shape
        self._uses.update(batch.uses)
        # A Counter keeps entries of zero, and with them the shape.
        for shape in batch.unused:
            del self.shapes[shape], self._uses[shape]

    def follow(self, new: Mapping[int, PushShape], uses: Counter[PushShape]) -> list[int]:
        """Take over *new* shapes and a difference in *uses*; return the ids that were deleted."""
        self.shapes |= {shape: number for number, shape in new.items()}
        self._uses.update(uses)
        # A new shape may be unused already: what used it was changed again before this look.
        touched = {*uses, *new.values()}
        gone = [shape for shape in touched if self._uses[shape] == 0]
        for shape in gone:
            del self._uses[shape]
        return [self.shapes.pop(shape) for shape in gone if shape in self.shapes]


def distinct_shapes(
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
