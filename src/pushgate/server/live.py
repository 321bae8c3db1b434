"""Files that the server follows while it runs: the web configuration and the rules."""

import asyncio
import logging
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pushgate.errors import StartupError

_POLL_SECONDS = 1.0
_MAX_FILE = 16 << 20  # bytes; a bundle of all public authorities has some hundred thousand

_log = logging.getLogger(__name__)


def read_file(path: Path) -> bytes:
    """Return the content of the configuration file at *path*.

    Raises:
        StartupError: it can't be read, is no regular file, or is too large.
    """
    try:
        # Opening a pipe would wait for its writer, which may never come.
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StartupError(f"read {path}: not a regular file")
            content = file.read(_MAX_FILE + 1)
    except OSError as error:
        verb = "read" if isinstance(error, IsADirectoryError) else "open"
        raise StartupError(f"{verb} {path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:  # a NUL in the name
        raise StartupError(f"open {str(path)!r}: invalid argument") from None
    if len(content) > _MAX_FILE:
        raise StartupError(f"read {path}: larger than {_MAX_FILE} bytes")
    return content


class LiveFiles(ABC):
    """Files that are read again when they change. The last valid content stays in force.

    Only :meth:`watch` replaces it, on the event loop and as a whole. Subclasses read in a
    thread, so a slow disk delays no request.

    Attributes:
        files: the files to follow. There may be none.
        error: why the files as they are now are not in force; None if they are.
        failures: how many reloads failed. A failure that repeats itself counts once, unless
            the reload was requested.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.error: StartupError | None = None
        self.failures = 0
        self._requested = asyncio.Event()
        # Unknown, so that the second poll reads again: the files may have changed while they
        # were read for the first time.
        self._seen: tuple[object, ...] | None = None
        self._loaded: tuple[object, ...] | None = None

    @abstractmethod
    async def _reload(self) -> bool:
        """Put in force what the files say; return whether that is something new.

        Raises:
            StartupError: it is invalid. Nothing has changed.
        """

    def request_reload(self) -> None:
        """Have :meth:`watch` reload at once, as SIGHUP asks."""
        self._requested.set()

    async def watch(self, report: Callable[[], None]) -> None:
        """Follow the files until cancelled; call *report* whenever :meth:`poll` has news."""
        while self.files:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._requested.wait(), _POLL_SECONDS)
            is_requested = self._requested.is_set()
            self._requested.clear()
            try:
                if await self.poll(at_once=is_requested):
                    report()
            except Exception:  # noqa: BLE001 - without the watch, no later change would be seen
                _log.exception("could not reload", extra={"file": str(self.files[0])})

    async def poll(self, *, at_once: bool = False) -> bool:
        """Reload the files if they have changed; return whether there is news to report.

        A change counts when two polls in a row see the same files, because a certificate and
        its key are two files, and a file may be seen half written. *at_once* reloads anyway,
        and the outcome is always news. Otherwise an error is news once, not at every poll.
        """
        files = self.files
        signature = await asyncio.to_thread(lambda: tuple(map(_stat, files)))
        is_settled, self._seen = signature == self._seen, signature
        # After an error the cause may be a file that is not followed yet, so try every time.
        is_due = is_settled and (signature != self._loaded or self.error is not None)
        if not (is_due or at_once):
            return False
        is_new, failure = False, None
        try:
            is_new = await self._reload()
        except StartupError as error:
            failure = error
        is_news = is_new or at_once or str(failure) != str(self.error)
        self.failures += is_news and failure is not None
        self.error, self._loaded = failure, signature
        return is_news


def _stat(file: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - follows links: Kubernetes swaps one to rotate secrets
    except (OSError, ValueError):
        return None
    # The inode notices a file that was replaced by one of the same size in the same tick.
    return status.st_mtime_ns, status.st_ino, status.st_size
