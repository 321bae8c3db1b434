"""Files of the configuration, each of which may be a pipe: ``--bearer-token-file <(vault …)``."""

import os
import threading
import time
from errno import EILSEQ, ETIMEDOUT
from io import FileIO
from stat import S_ISFIFO
from typing import TypeAlias

FilePath: TypeAlias = str | os.PathLike[str]

# For a pipe, whose writer may have to ask another server first, or may never come.
_PIPE_SECONDS = 5.0
_PIECE = 1 << 16
# What came out of each pipe, and when it was written: nothing comes out a second time, but each
# gateway of the process asks. One thread reads; the others wait for what it gets.
_kept: dict[tuple[int, int], tuple[int, bytes]] = {}
_reading = threading.Lock()


def read_file(path: FilePath) -> bytes:
    """Return what is in the file at *path*; of a pipe, all that is written until it is closed.

    A pipe is read once; then the same is returned, until something else is written to it.

    Raises:
        OSError: It cannot be read, or it is a pipe that is not closed within five seconds.
    """
    if S_ISFIFO(os.stat(path).st_mode):
        return _piped(path, time.monotonic() + _PIPE_SECONDS)
    with open(path, "rb") as file:
        return file.read()


def read_text(path: FilePath) -> str:
    """Return the text in the file at *path*, which is UTF-8; a byte order mark is dropped.

    Raises:
        OSError: As for :func:`read_file`, or because it is not UTF-8.
    """
    try:
        return read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(EILSEQ, "it is not UTF-8") from error


def _piped(path: FilePath, expires: float) -> bytes:
    # Not without end: after a fork, the thread that reads may belong to another process.
    if not _reading.acquire(timeout=_PIPE_SECONDS):
        raise _late(path, "nothing came from the pipe")
    try:
        before = os.stat(path)
        written, content = _kept.get((before.st_dev, before.st_ino), (0, b""))
        if written != before.st_mtime_ns:
            # To open a pipe would otherwise wait for a writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb", buffering=0) as pipe:
                content = _until_closed(pipe, path, expires)
                after = os.fstat(descriptor)
            _kept[after.st_dev, after.st_ino] = after.st_mtime_ns, content
        return content
    finally:
        _reading.release()


def _until_closed(pipe: FileIO, path: FilePath, expires: float) -> bytes:
    import select  # here, because pipes are rare

    ready = select.poll()
    ready.register(pipe, select.POLLIN)
    received = bytearray()
    # Before a writer has come, read() finds the end of the pipe; poll() waits for one.
    while (left := expires - time.monotonic()) > 0 and ready.poll(left * 1000):
        piece = pipe.read(_PIECE)
        if piece == b"":
            return bytes(received)
        received += piece or b""
    what = "it is a pipe that was not closed" if received else "nothing came from the pipe"
    raise _late(path, what)


def _late(path: FilePath, what: str) -> TimeoutError:
    return TimeoutError(ETIMEDOUT, f"{what} in {_PIPE_SECONDS:g} seconds", path)
