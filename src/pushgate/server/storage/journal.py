"""The interface of durable storage, which several servers may share.

The changes of all servers have one order. To add to it, a server takes a *turn*: it receives the
*news*, the changes of others since its last look, admits what waits against exactly that state,
and appends it. No other server changes anything meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from pushgate.server.store.group import Group
from pushgate.server.store.store import News, Step


class TurnLost(Exception):
    """The turn has ended early, and nothing was appended. Another one may be taken at once."""


class Contents(NamedTuple):
    """What a journal holds: all groups, and the idempotency keys of recent pushes.

    The keys come with the times of their pushes, the oldest first.
    """

    groups: Sequence[Group]
    applied_keys: Sequence[tuple[bytes, int]] = ()

    @property
    def series(self) -> int:
        return sum(group.series for group in self.groups)


class Journal(Protocol):
    """Durable storage of groups. Used from one thread at a time.

    A journal derives from this class, which implements :meth:`append`.
    """

    is_shared: bool
    """Whether other servers may change what it holds."""

    def load(self) -> Contents:
        """Return everything as of the last append. Called once, before anything else."""
        ...

    def begin(self) -> News | None:
        """Take a turn, and return what others have changed since the last look, if anything.

        The turn lasts until :meth:`append`. If there is much news, the turn is already over, so
        that others need not wait until the news is taken in.

        Raises:
            JournalFailed: there is no turn.
        """
        ...

    def append(self, steps: Sequence[Step]) -> None:
        """Make *steps* durable, in order, all or none; return when they are. Ends the turn.

        Without steps, find out whether a write would succeed.

        Raises:
            TurnLost: none of them is durable.
            JournalFailed: none of them is, unless it says ``unknown``. A later turn may succeed.
        """
        self.write(coalesced(steps), idempotency_keys(steps), replace_keys=False)

    def write(
        self, steps: Sequence[Step], applied_keys: Mapping[bytes, int], *, replace_keys: bool
    ) -> None:
        """Do what :meth:`append` does, with one step for each group, and these idempotency keys.

        With *replace_keys*, all earlier keys are forgotten: the pushes that they named are gone.
        """
        ...

    def check(self) -> News | None:
        """Find out, cheaply and without a turn, whether the journal is still usable.

        Returns what others have changed since the last look, if anything.

        Raises:
            JournalFailed: it is not, and the next turn would fail.
        """
        ...

    def tidy(self) -> bool:
        """Do a few milliseconds of housekeeping; return whether there is more to do.

        Called between turns. It logs its own failures instead of raising them.
        """
        ...

    def close(self) -> None:
        """Close the file or connection."""
        ...


def coalesced(steps: Iterable[Step]) -> list[Step]:
    """Return one step for each group: from what it was before to what it is after."""
    out: dict[bytes, Step] = {}
    for step in steps:
        key = step.key.packed
        first = out.get(key)
        out[key] = step if first is None else Step(first.before, step.after)
    # A group that was created and deleted in one batch leaves nothing to write.
    return [step for step in out.values() if step.before or step.after]


def idempotency_keys(steps: Iterable[Step]) -> dict[bytes, int]:
    """Return the idempotency keys of *steps*, with the times of their pushes."""
    return {step.once: step.after.pushed_at for step in steps if step.once and step.after}


def replacement(present: Iterable[Group], wanted: Iterable[Group]) -> list[Step]:
    """Return one step for each group that makes *wanted* of *present*."""
    before = {group.key.packed: group for group in present}
    steps = [Step(before.pop(group.key.packed, None), group) for group in wanted]
    return steps + [Step(group, None) for group in before.values()]
