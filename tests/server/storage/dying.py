"""A start that dies, as by a power cut, before one of its steps."""

import os
import sys
from pathlib import Path

from pushgate.server.storage.opening import lock_file, open_journal


def start_and_die(path: Path, step: int) -> None:
    """Open the file at *path*; end the process before *step*, from 0, if there are so many."""
    left = step

    def before(event: str, arguments: tuple) -> None:
        nonlocal left
        if event in {"open", "os.rename", "os.remove"} and ".data" in str(arguments[0]):
            if left == 0:
                os._exit(9)
            left -= 1

    sys.addaudithook(before)
    open_journal(path, lock_file(path, 0), reset_damaged=False)[0].close()
