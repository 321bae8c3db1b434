"""The seam between the gateway and durable storage.

A journal that several servers share fits behind it: in its turn, :meth:`Journal.append` finds
what the others have changed since, writes nothing, and hands it over. The gateway then
withdraws what it has admitted, as after a failure, applies those changes, and admits again.
"""

from collections.abc import Sequence
from typing import Protocol

from pushgate.server.group import Group
from pushgate.server.store import Step


class Journal(Protocol):
    """Remembers what was acknowledged. Used from one thread at a time."""

    def load(self) -> list[Group]:
        """Return every group as it was after the last append. Called once, first."""
        ...

    def append(self, steps: Sequence[Step]) -> None:
        """Make *steps* durable, all or none, in order; return when they are.

        Without steps it is a trial whether that would be possible.

        Raises:
            JournalFailed: none of them is, or it is unknown. A later append may succeed.
        """
        ...

    def check(self) -> None:
        """Find out, cheaply and without a write, whether the journal is still there.

        Raises:
            JournalFailed: it is not; the next append would fail too.
        """
        ...

    def tidy(self) -> bool:
        """Do some milliseconds of housekeeping; return whether there is more to do.

        Called between appends. Failures are the journal's own business.
        """
        ...

    def close(self) -> None:
        """Let go of the file or connection."""
        ...
