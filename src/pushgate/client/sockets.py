"""Sockets with a deadline: one that blocks, and what it shares with the one that asyncio awaits.

No operation on a socket gets more time than what is left until the deadline: with a timeout
for each operation only, a gateway that answers a byte at a time could hold a push forever.
"""

import math
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from pushgate.client.resolving import (
    Addresses,
    ResolverTimeoutError,
    addresses_of,
    is_numeric,
    within,
)
from pushgate.client.route import Route

PIECE = 1 << 16
"""Bytes to write or to read at a time: a timeout is for one piece, and a slow reader takes many."""


class DeadlineSocket(ABC):
    """A socket with a deadline. One subclass blocks, the other lets asyncio wait.

    Attributes:
        is_awaited: Whether asyncio waits.
        is_ready: Whether proxy and TLS are passed, so that requests can be written; it chooses the
            timeout.
        expires: The deadline of the request that goes on, on the monotonic clock.
    """

    is_awaited = False

    def __init__(self, route: Route) -> None:
        self._route = route
        self._socket: socket.socket | None = None
        self.is_ready = False
        self.expires = math.inf

    @property
    def _connected(self) -> socket.socket:
        assert self._socket is not None, "connect() comes first"
        return self._socket

    async def connect(self, host: str, port: int) -> None:
        """Connect to the first address of *host* that answers."""
        ends = time.monotonic() + self._timeout()
        look_up = partial(addresses_of, host, port)
        try:
            addresses = look_up() if is_numeric(host) else await self._resolve(look_up)
        except TimeoutError as error:
            raise ResolverTimeoutError from error
        failure: OSError | None = None
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            self.close()
            # Each address has its share of the time, so that a dead one does not use it all up.
            share = (ends - time.monotonic()) / (len(addresses) - number)
            try:
                # An error, too, where the system has IPv6 switched off.
                self._socket = socket.socket(family, kind, protocol)
                # A body ends with a short packet. Nagle's algorithm would hold it back until the
                # other side, which may wait for 40 ms, has acknowledged the packets before it.
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if share > 0:
                    await self._connect(address, share)
                    return
            except OSError as error:
                failure = error
        raise failure or TimeoutError("timed out")

    @abstractmethod
    async def _resolve(self, look_up: Callable[[], Addresses]) -> Addresses: ...

    @abstractmethod
    async def _connect(self, address: Any, seconds: float) -> None: ...

    @abstractmethod
    async def write(self, data: bytes) -> None: ...

    @abstractmethod
    async def read(self) -> bytes:
        """Return at most :data:`PIECE` bytes, none at the end of the stream."""

    def _timeout(self) -> float:
        """Return the seconds for an operation; raise TimeoutError if the deadline has passed."""
        # To a socket, a timeout of 0 means "do not block", and a negative one is an error.
        if time.monotonic() >= self.expires:
            raise TimeoutError("timed out")
        return self._route.timeouts(self.expires)["read" if self.is_ready else "connect"]

    def is_idle(self) -> bool:
        """Return whether it is connected, and nothing has come since the last answer.

        What comes between two requests is nothing that anybody asked for, or the end: on a closed
        connection a request would fail, and nobody could say whether the gateway had received it.
        """
        if self._socket is None:
            return False
        try:
            self._socket.setblocking(False)
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        """Close it; it can be connected again."""
        connected, self._socket = self._socket, None
        if connected is not None:
            connected.close()


class BlockingSocket(DeadlineSocket):
    """Waits by blocking."""

    async def _resolve(self, look_up: Callable[[], Addresses]) -> Addresses:
        return within(self._timeout(), look_up)

    async def _connect(self, address: Any, seconds: float) -> None:
        self._connected.settimeout(seconds)
        self._connected.connect(address)

    async def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._connected.settimeout(self._timeout())
            left = left[self._connected.send(left) :]

    async def read(self) -> bytes:
        self._connected.settimeout(self._timeout())
        return self._connected.recv(PIECE)
