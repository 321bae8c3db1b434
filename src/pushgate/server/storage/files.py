"""Creates and replaces private files so that they survive a power cut."""

import errno
import os
import stat
import time
from pathlib import Path
from typing import Final

COMPANIONS: Final = ("-wal", "-shm")
"""What SQLite appends to the name of a database for the files that belong to it."""


def beside(path: Path, suffix: str) -> Path:
    """Return *path* with *suffix* appended to its name."""
    return Path(f"{path}{suffix}")  # with_name() refuses "." and "/", which users may give


def followed(path: Path) -> Path:
    """Return the file that *path* is a link to: beside that one SQLite keeps the log."""
    # Not is_symlink(), which fails where a directory may not be read.
    return Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114


def dated(path: Path, suffix: str) -> Path:
    """Return *path* with *suffix* and the present time appended to its name, for a file to keep."""
    return beside(path, time.strftime(f"{suffix}-%Y%m%dT%H%M%SZ", time.gmtime()))


def remove_companions(path: Path) -> None:
    """Remove what SQLite would take for the log of a database that is put at *path*."""
    for suffix in COMPANIONS:
        beside(path, suffix).unlink(missing_ok=True)


def remove_database(path: Path) -> None:
    """Remove the database at *path*, or what is left of it."""
    path.unlink(missing_ok=True)
    remove_companions(path)


def put_in_place(draft: Path, target: Path) -> None:
    """Rename *draft*, which is on disk, to *target*, replacing it in one step."""
    draft.replace(target)
    sync_directory(target.parent)  # until then, a power cut may undo the rename


def make_directories(directory: Path) -> None:
    """Create *directory* and its missing parents, and sync each in its parent."""
    if directory.is_dir():
        return
    make_directories(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Sync the entries of *directory*, so that new names survive a power cut."""
    # On POSIX, the sync of a file does not cover its name.
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_private(path: Path) -> None:
    """Create *path*, for its owner only, if it is missing.

    Raises:
        OSError: it can't be opened for reading and writing, or is not a regular file.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
    finally:
        os.close(handle)


def write_private(path: Path, data: bytes) -> None:
    """Write *data* to *path*, for its owner only, and sync it."""
    with path.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
