"""What can be done with a socket, and the layers of a connection that do it: bare, or TLS."""

from collections.abc import Generator
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

_Result = TypeVar("_Result")
PIECE = 1 << 16
"""Bytes to write or to read at a time: a timeout is for one piece, and a slow reader takes many."""


class Resolve(NamedTuple):
    """Look up *host*. The outcome is what ``socket.getaddrinfo`` returns."""

    host: str
    port: int


class Connect(NamedTuple):
    """Connect to an address, within the *share* of the time that is left for connecting."""

    address: tuple[Any, ...]
    share: float


class Write(NamedTuple):
    """Write all of *data*."""

    data: bytes


class Read(NamedTuple):
    """Read at most :data:`PIECE` bytes; the outcome is empty at the end of the stream."""


Action: TypeAlias = Resolve | Connect | Write | Read
Actions: TypeAlias = Generator[Action, Any, _Result]


class Layer(Protocol):
    """Turns bytes that are written and read into actions on the socket below."""

    def write(self, data: bytes) -> Actions[None]: ...

    def read(self) -> Actions[bytes]: ...


class Bare:
    """The bytes as they are on the socket."""

    def write(self, data: bytes) -> Actions[None]:
        yield Write(data)

    def read(self) -> Actions[bytes]:
        data: bytes = yield Read()
        return data
