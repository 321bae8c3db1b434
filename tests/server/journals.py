"""What the journals of tests have in common."""

from collections.abc import Sequence

from pushgate.server.storage.journal import Contents
from pushgate.server.store.store import Step


class ForgetfulJournal:
    """A journal that takes everything and keeps nothing; a test overrides what it looks at."""

    is_shared = False

    def load(self) -> Contents:
        return Contents(())

    def begin(self) -> None:
        pass

    def append(self, steps: Sequence[Step]) -> None:
        pass

    def check(self) -> None:
        pass

    def tidy(self) -> bool:
        return False

    def close(self) -> None:
        pass
