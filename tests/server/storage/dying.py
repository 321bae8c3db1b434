"""Work on a file that dies, as by a power cut, before one of its steps."""

import os
import sys
from pathlib import Path

from pushgate.server.storage.backup import restore_file
from pushgate.server.storage.opening import lock_file, open_journal


def start_and_die(path: Path, step: int) -> None:
    """Open the file at *path*; end the process before *step*, from 0, if there are so many."""
    die_before(step)
    open_journal(path, lock_file(path, 0), reset_damaged=False)[0].close()


def restore_and_die(backup: Path, path: Path, step: int) -> None:
    """Restore *backup* to *path*, likewise."""
    die_before(step)
    restore_file(backup, path, replace=True)


def die_before(step: int) -> None:
    left = step

    def before(event: str, arguments: tuple) -> None:
        nonlocal left
        steps = {"open", "os.rename", "os.remove", "os.link"}
        if event in steps and ".data" in str(arguments[0]):
            if left == 0:
                os._exit(9)
            left -= 1

    sys.addaudithook(before)
