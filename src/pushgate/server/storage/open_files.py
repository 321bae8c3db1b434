"""Notices what happens to the files of a journal while they are open.

An open descriptor keeps a deleted file alive: SQLite would go on writing into it, and after a gap
in one that was cut short.
"""

import os
from pathlib import Path

from pushgate.errors import JournalFailed


class OpenFiles:
    """The database *path* and its write-ahead log, which have just been opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names = str(path), f"{path}-wal"  # stat of a Path costs ten times as much
        self._inodes = [(file.st_dev, file.st_ino) for file in map(os.stat, self._names)]
        # The sizes that the files have at least.
        self._sizes = [0, 0]
        self._lost = ""

    def check(self) -> None:
        """Find out, with two ``stat``, whether the files are still what they were.

        Raises:
            JournalFailed: one of them was deleted, replaced or cut short.
        """
        sizes = self._sizes
        self.note_sizes()
        if any(now < before for now, before in zip(self._sizes, sizes, strict=True)):
            # What was in the gap is lost.
            self._lost = f"{self._path} was cut short under the running server: restart"
            raise JournalFailed(self._lost)

    def are_in_place(self) -> bool:
        """Return whether :meth:`check` passes."""
        try:
            self.check()
        except JournalFailed:
            return False
        return True

    def note_sizes(self) -> None:
        """Accept the present sizes; raise JournalFailed if these are not the opened files."""
        if self._lost:
            raise JournalFailed(self._lost)
        try:
            files = [*map(os.stat, self._names)]
        except OSError as error:
            raise JournalFailed(
                f"{self._path} can't be found any more ({error.strerror}): put it back, or restart"
            ) from error
        if self._inodes != [(file.st_dev, file.st_ino) for file in files]:
            raise JournalFailed(
                f"{self._path} was replaced under the running server: put the file that was there "
                "back, or restart"
            )
        self._sizes = [file.st_size for file in files]

    def note_write(self) -> None:
        """Accept the sizes after a write.

        Raises:
            JournalFailed: what was written may be in a deleted file. From here on, memory and
                file differ, and so every later call fails.
        """
        try:
            self.note_sizes()
        except JournalFailed as error:
            self._lost = f"{self._path} was deleted or replaced under the running server: restart"
            raise JournalFailed(self._lost, unknown=True) from error

    def may_shrink(self) -> None:
        """Accept any sizes at the next check: we are about to cut the log ourselves."""
        self._sizes = [0, 0]
