"""Named pipes, and what writes to them."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def pipe(path: Path, *pieces: bytes, after: float = 0.0) -> Iterator[Path]:
    """Make a pipe whose writer comes *after* some seconds, and writes a piece at a time.

    Without pieces there is no writer. In open(), the writer waits for a reader.
    """
    os.mkfifo(path)

    def write() -> None:
        time.sleep(after)
        with path.open("wb", buffering=0) as file:
            for piece in pieces:
                time.sleep(0.05)
                file.write(piece)

    writer = threading.Thread(target=write, daemon=True)
    if pieces:
        writer.start()
    yield path
    if pieces:
        writer.join()
