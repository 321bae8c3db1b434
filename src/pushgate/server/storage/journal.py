"""The seam between the gateway and durable storage.

A journal that several servers share fits behind it: in its turn, :meth:`Journal.append` finds
what the others have changed since, writes nothing, and hands it over. The gateway then
withdraws what it has admitted, as after a failure, applies those changes, and admits again.
"""

from collections.abc import Sequence
from typing import Protocol

from pushgate.server.store.group import Group
from pushgate.server.store.store import Step


class Journal(Protocol):
    """Durable storage of groups. Used from one thread at a time."""

    def load(self) -> list[Group]:
        """Return all groups as of the last append. Called once, before anything else."""
        ...

    def append(self, steps: Sequence[Step]) -> None:
        """Make *steps* durable, in order, all or none; return when they are.

        Without steps, find out whether a write would succeed.

        Raises:
            JournalFailed: none of them is, unless it says ``unknown``. A later append may succeed.
        """
        ...

    def check(self) -> None:
        """Find out, cheaply and without writing, whether the journal is still usable.

        Raises:
            JournalFailed: it is not, and the next append would fail.
        """
        ...

    def tidy(self) -> bool:
        """Do a few milliseconds of housekeeping; return whether there is more to do.

        Called between appends. Handles and reports its own failures.
        """
        ...

    def close(self) -> None:
        """Close the file or connection."""
        ...
