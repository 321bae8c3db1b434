"""What the store holds for one group."""

from typing import Final

from pushgate.model.grouping import GroupingKey
from pushgate.model.shape import FamilyShape, MetricType, Pushed

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
TIME_FAMILIES: Final = frozenset({PUSH_TIME.name, PUSH_FAILURE_TIME.name})
"""The families the server keeps in every group; what a push says of them is dropped."""


class Block:
    """What one push left in a group. ``received`` is in Unix nanoseconds. Never changed."""

    __slots__ = ("pushed", "received")

    def __init__(self, pushed: Pushed, received: int) -> None:
        self.pushed = pushed
        self.received = received


class Group:
    """A group at one moment: never changed, replaced by the next change of the group.

    ``blocks`` have no family name in common. Times are Unix nanoseconds: ``pushed_at``
    and ``failed_at`` are 0 for never, ``since`` is the group's first push or failure.
    """

    __slots__ = ("blocks", "failed_at", "key", "pushed_at", "since")

    def __init__(
        self,
        key: GroupingKey,
        blocks: tuple[Block, ...],
        *,
        pushed_at: int,
        failed_at: int,
        since: int,
    ) -> None:
        self.key = key
        self.blocks = blocks
        self.pushed_at = pushed_at
        self.failed_at = failed_at
        self.since = since

    @property
    def last_push_successful(self) -> bool:
        """Whether nothing failed since the last push that succeeded."""
        return self.failed_at <= self.pushed_at
