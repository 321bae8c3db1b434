"""Creates private files and directories that survive a power cut."""

import errno
import os
import stat
from pathlib import Path
from typing import Final

COMPANIONS: Final = ("-wal", "-shm")
"""What SQLite appends to the name of a database for the files that belong to it."""


def beside(path: Path, suffix: str) -> Path:
    """Return the path beside *path* that is called so, and *suffix*."""
    return path.with_name(path.name + suffix)


def make_directories(directory: Path) -> None:
    """Create *directory* and its missing parents, and sync each in its parent.

    Raises:
        OSError: one of them can't be created.
    """
    if directory.is_dir():
        return
    make_directories(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Sync the entries of *directory*, so that new names survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_private(path: Path) -> None:
    """Create *path*, for its owner only, if it is missing.

    Raises:
        OSError: it can't be opened for reading and writing, or is no regular file.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
    finally:
        os.close(handle)


def write_private(path: Path, data: bytes) -> None:
    """Write *data* to *path*, for its owner only, and sync it.

    Raises:
        OSError: it could not be written.
    """
    with path.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
