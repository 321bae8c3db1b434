"""A TCP proxy on loopback that forwards bytes, and harms connections when told to."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST and drops what is unsent


class Proxy:
    """Forwards what connects to :attr:`port` to another port; see :func:`proxied`.

    Set the attributes at any time, from any thread.
    """

    def __init__(self, target: int) -> None:
        """Forward to the loopback port *target*."""
        self.target = target
        """Where new connections go."""
        self.delay = 0.0
        """For how many seconds each piece is held, in both directions."""
        self.swallows = False
        """Bytes are taken and dropped: the others wait for each other."""
        self.cut_before: bytes | None = None
        """The next piece from a client with these bytes is dropped, and its connection cut."""
        self.cut_after: bytes | None = None
        """The same, but the piece goes through first: the client can't know whether it did."""
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Reset all connections."""
        doomed, self._open = self._open, set()
        for each in doomed:
            _reset(each)

    def half_close(self) -> None:
        """End the stream to each client, as if the server had closed; still take its bytes."""
        for each in [*self._open]:
            with suppress(OSError):
                if each.getsockname()[1] == self.port:
                    each.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Reset all connections, and take no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=10)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        with client, server:
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open |= {client, server}
            back = threading.Thread(target=self._forward, args=(server, client), daemon=True)
            back.start()
            self._forward(client, server)
            back.join()
            self._open -= {client, server}

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                time.sleep(self.delay)
                if self.swallows:
                    continue
                if _is_met(self.cut_before, piece):
                    self.cut_before = None
                    break
                if _is_met(self.cut_after, piece):
                    self.cut_after = None
                    _reset(source)  # first, so that no answer comes through
                    sink.sendall(piece)
                    sink.shutdown(socket.SHUT_WR)  # a reset could overtake what it has not read
                    return
                sink.sendall(piece)
            else:
                if source in self._open:  # it was not cut
                    sink.shutdown(socket.SHUT_WR)
                return
        for each in (source, sink):
            _reset(each)


def _is_met(mark: bytes | None, piece: bytes) -> bool:
    """Whether *piece* is the one that *mark* asks for."""
    return mark is not None and mark in piece


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.shutdown(socket.SHUT_RD)  # who waits for bytes wakes up
    connection.close()


@contextmanager
def proxied(target: int) -> Iterator[Proxy]:
    """A proxy before the loopback port *target*, until the block ends."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
