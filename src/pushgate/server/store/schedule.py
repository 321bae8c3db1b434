"""Finds the groups that are due to change by age."""

from heapq import heappop, heappush
from operator import itemgetter

from pushgate.model.slices import Sliced, listing, releasing, sorting

# In a smaller heap, void entries are not worth the work of removing them.
_MIN_VOID = 1000


class Schedule:
    """A heap with one valid entry for each group that has a due time.

    A push usually postpones the due time of its group. That costs nothing here: the entry stays, is
    taken too early, and the group is entered again.
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
        """Have *group* taken at *due*, or earlier if it is already entered for an earlier time."""
        if self._entered.get(group, due + 1) > due:
            self._entered[group] = due
            heappush(self._heap, (due, group))

    def take(self, now: int, most: int) -> list[bytes]:
        """Remove up to *most* entries for *now* or earlier; return the groups of the valid ones.

        There may be none of these, and yet more that is due.
        """
        groups: list[bytes] = []
        for _ in range(most):
            if not self._heap or self._heap[0][0] > now:
                break
            due, group = heappop(self._heap)
            if self._entered.get(group) == due:  # else the entry is void
                del self._entered[group]
                groups.append(group)
        return groups

    def remove(self, group: bytes) -> None:
        """Forget *group*. Its entry in the heap becomes void."""
        self._entered.pop(group, None)

    def compaction(self) -> Sliced[None]:
        """Remove the void entries if they are more than half of many.

        Call it after entering earlier times and after removing groups.
        """
        if len(self._heap) > 2 * len(self._entered) + _MIN_VOID:
            entries = yield from listing((due, key) for key, due in self._entered.items())
            void = self._heap
            self._heap = yield from sorting(entries, itemgetter(0))  # a sorted list is a heap
            yield from releasing(void)
