"""The exclusive right to a persistence file, taken before anything of it is read."""

import fcntl
import os
import time
from pathlib import Path

from pushgate.server.storage.files import make_directories

_POLL_SECONDS = 0.05


class FileLock:
    """A lock file beside *path*. The system releases it when the process dies."""

    def __init__(self, path: Path) -> None:
        # Servers that name one file by two links get one lock.
        self._path = Path(f"{path.resolve()}.lock")
        self._handle: int | None = None

    def acquire(self, wait: float) -> bool:
        """Return whether the lock is ours; try for *wait* seconds.

        Directories that are missing are made, and survive a power cut.

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
        """Let the next process have the file."""
        if self._handle is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None

    def _try(self) -> bool:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have deleted it after we opened it.
            if os.path.samestat(os.fstat(handle), self._path.stat()):
                self._handle, handle = handle, -1
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if handle >= 0:
                os.close(handle)
        return self._handle is not None
