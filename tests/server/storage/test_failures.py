"""What operators read about failures of disks and files."""

import errno
from pathlib import Path

import apsw
import pytest

from pushgate.errors import DamagedFile, StartupError
from pushgate.server.storage.failures import startup_error

PATH = Path("data/pushgate.db")


def sqlite_error(code: int) -> Exception:
    return apsw.exception_for(code)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "x"), "can't use data/pushgate.db: disk full; free space on"),
        (sqlite_error(apsw.SQLITE_FULL), "can't use data/pushgate.db: disk full; free space on"),
        (OSError(errno.EIO, "x"), "Input/output error; check the disk; nothing was changed"),
        (OSError(errno.EACCES, "x"), "Permission denied; make file and directory writable, name"),
        (OSError(errno.EROFS, "x"), "Read-only file system; make file and directory writable"),
        (OSError(errno.EDQUOT, "x"), "quota exceeded; free space or raise the quota"),
        (sqlite_error(apsw.SQLITE_BUSY), "data/pushgate.db is in use by another process: stop"),
        (sqlite_error(apsw.SQLITE_NOMEM), "can't use data/pushgate.db: NoMemError; make"),
    ],
)
def test_a_failure_of_the_system_is_named_and_is_no_damage(error, message):
    explained = startup_error(PATH, error)
    assert message in str(explained)
    assert "\n" not in str(explained)
    assert not isinstance(explained, DamagedFile)


@pytest.mark.parametrize(
    "error",
    [
        sqlite_error(apsw.SQLITE_CORRUPT),
        sqlite_error(apsw.SQLITE_NOTADB),
        sqlite_error(apsw.SQLITE_ERROR),
        ValueError("its checksum is wrong"),
    ],
)
def test_only_what_is_corrupt_is_damage(error):
    explained = startup_error(PATH, error)
    assert isinstance(explained, DamagedFile)
    assert "--persistence.reset-damaged" in str(explained)


def test_what_is_explained_already_stays_as_it_is():
    error = StartupError("a newer version")
    assert startup_error(PATH, error) is error
