"""When groups change by age."""

from collections.abc import Iterator
from heapq import heappop, heappush
from operator import itemgetter

from pushgate.model.slices import PER_SLICE, Sliced, sorting

# A heap of fewer entries is not worth the work of leaving out those that are void.
_MIN_VOID = 1000


class Schedule:
    """A heap with one valid entry for each group that has a due time.

    A push usually moves the due time of its group on. That costs nothing here: the entry stays,
    is taken out too early, and the group is entered again.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []
        self._entered: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._entered)

    @property
    def first(self) -> int | None:
        """The earliest time at which a group may be due, in Unix nanoseconds."""
        return self._heap[0][0] if self._heap else None

    def enter(self, group: bytes, due: int) -> None:
        """Have *group* taken out at *due*, or earlier if it is entered for an earlier time."""
        if self._entered.get(group, due + 1) > due:
            self._entered[group] = due
            heappush(self._heap, (due, group))

    def entered_until(self, now: int) -> Iterator[bytes]:
        """Yield the groups that are entered for *now* or earlier."""
        return (group for group, due in self._entered.items() if due <= now)

    def pop(self, now: int) -> bytes | None:
        """Take out and return a group that was entered for *now* or earlier; None if none was."""
        while self._heap and self._heap[0][0] <= now:
            due, group = heappop(self._heap)
            if self._entered.get(group) == due:
                del self._entered[group]
                return group
        return None

    def remove(self, group: bytes) -> Sliced[None]:
        """Forget *group*. Its entry in the heap is void, and goes when half of them are."""
        self._entered.pop(group, None)
        if len(self._heap) > 2 * len(self._entered) + _MIN_VOID:
            entries = []
            for number, (key, due) in enumerate(self._entered.items()):
                if number % PER_SLICE == 0:
                    yield
                entries.append((due, key))
            self._heap = yield from sorting(entries, itemgetter(0))
