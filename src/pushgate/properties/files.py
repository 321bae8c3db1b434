"""Files of the configuration, each of which may be a pipe: ``--bearer-token-file <(vault …)``."""

import os
import time
from errno import ETIMEDOUT
from io import FileIO
from stat import S_ISFIFO

# For a pipe, whose writer may have to ask another server first, or may never come.
_PIPE_SECONDS = 5.0
_PIECE = 1 << 16


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return what is in the file at *path*; of a pipe, all that is written until it is closed.

    Raises:
        OSError: It cannot be read, or it is a pipe that is not closed within five seconds.
    """
    # To open a pipe would otherwise wait for a writer.
    with open(
        path, "rb", buffering=0, opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)
    ) as file:
        if S_ISFIFO(os.fstat(file.fileno()).st_mode):
            return _until_closed(file)
        os.set_blocking(file.fileno(), True)  # a terminal
        return file.read()


def _until_closed(pipe: FileIO) -> bytes:
    import select  # here, because pipes are rare

    ends = time.monotonic() + _PIPE_SECONDS
    ready = select.poll()
    ready.register(pipe, select.POLLIN)
    received = bytearray()
    # Before a writer has come, read() finds the end of the pipe; poll() waits for one.
    while (left := ends - time.monotonic()) > 0 and ready.poll(left * 1000):
        piece = pipe.read(_PIECE)
        if piece == b"":
            return bytes(received)
        received += piece or b""
    what = "it is a pipe that was not closed" if received else "nothing came from the pipe"
    raise TimeoutError(ETIMEDOUT, f"{what} in {_PIPE_SECONDS:g} seconds")
