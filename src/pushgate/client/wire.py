"""What HTTP is written to and read from: a socket, perhaps with TLS on top."""

from typing import Protocol

PIECE = 1 << 16
"""Bytes to write or to read at a time: a timeout is for one piece, and a slow reader takes many."""


class Stream(Protocol):
    """Bytes in both directions."""

    async def write(self, data: bytes) -> None: ...

    async def read(self) -> bytes:
        """Return at most :data:`PIECE` bytes, none at the end of the stream."""
        ...


class Socket(Stream, Protocol):
    """A stream that first has to be connected.

    Attributes:
        is_ready: Whether proxy and TLS are passed, so that requests can be written.
        expires: When no operation may go on any more, on the monotonic clock.
    """

    is_ready: bool
    expires: float

    async def connect(self, host: str, port: int) -> None: ...
