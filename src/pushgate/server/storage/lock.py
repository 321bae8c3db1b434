"""Locks a persistence file against other processes, before anything reads it."""

import fcntl
import os
import time
from pathlib import Path

from pushgate.server.storage.files import make_directories

_POLL_SECONDS = 0.05


class FileLock:
    """A lock file beside *path*. The system releases it when the process ends."""

    def __init__(self, path: Path) -> None:
        # Resolved, so that two links to one file share a lock.
        self._path = Path(f"{os.path.realpath(path)}.lock")
        self._handle: int | None = None

    def acquire(self, wait: float) -> bool:
        """Return whether the lock could be taken within *wait* seconds.

        Creates missing directories, and syncs them.

        Raises:
            OSError: the lock file can't be written.
        """
        make_directories(self._path.parent)
        deadline = time.monotonic() + wait
        while not self._try():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def release(self) -> None:
        if self._handle is not None:
            # Deleted before it is unlocked: afterwards it might be the next holder's.
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def _try(self) -> bool:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have deleted the file after we opened it. Then the lock is on a
            # file without a name, and others lock a new one: try again.
            if os.path.samestat(os.fstat(handle), self._path.stat()):
                self._handle, handle = handle, -1
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if handle >= 0:
                os.close(handle)
        return self._handle is not None
