"""Turns errors of SQLite and the system into messages for operators.

Only what SQLite or our checksums call corrupt is damage. A disk that fails says nothing about the
data, and a file is never moved aside because of it.
"""

import errno
import os
from pathlib import Path
from typing import Final

import apsw

from pushgate.errors import DamagedFile, StartupError

# SQLError: a table or column is missing. ValueError: a checksum or a record is wrong.
_CORRUPT: Final = (apsw.CorruptError, apsw.NotADBError, apsw.SQLError, ValueError)
_ADVICE: Final = {
    errno.ENOSPC: "free space on the disk, then start again",
    errno.EDQUOT: "free space or raise the quota, then start again",
    errno.EIO: "check the disk; nothing was changed",
}
_DEFAULT_ADVICE: Final = (
    "make file and directory writable, name another file with --persistence.file, or keep "
    "metrics in memory with --persistence.file="
)


def reason(error: Exception, connection: apsw.Connection | None) -> str:
    """Return the reason of *error* in words.

    Call it before the next statement on *connection*, which keeps only its last error.
    """
    number = _error_number(error, connection)
    if number == errno.ENOSPC:
        return "disk full"
    return os.strerror(number) if number else str(error) or type(error).__name__


def _error_number(error: Exception, connection: apsw.Connection | None) -> int:
    """Return the system's ``errno`` that caused *error*, 0 if there is none."""
    if isinstance(error, OSError):
        return error.errno or 0
    if isinstance(error, apsw.FullError):
        return errno.ENOSPC
    if connection is not None and isinstance(error, apsw.IOError | apsw.CantOpenError):
        return connection.system_errno
    return 0


def startup_error(
    path: Path, error: Exception, connection: apsw.Connection | None = None
) -> StartupError:
    """Return the error that ends a start because of *error*: one line that says what to do."""
    if isinstance(error, StartupError):
        return error
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return in_use(path)
    if isinstance(error, _CORRUPT):
        return damaged(path, str(error))
    advice = _ADVICE.get(_error_number(error, connection), _DEFAULT_ADVICE)
    return StartupError(f"can't use {path}: {reason(error, connection)}; {advice}")


def in_use(path: Path) -> StartupError:
    """Return the error that another process uses *path*."""
    return StartupError(f"{path} is in use by another process: stop it, or name another file")


def damaged(path: Path, what: str) -> DamagedFile:
    """Return the error that *path* is damaged; *what* names the damaged parts."""
    return DamagedFile(
        f"{path} is damaged ({what}): restore it from a backup, or start with "
        "--persistence.reset-damaged to move it aside and start empty"
    )
