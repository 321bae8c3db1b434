"""A gateway on a real loopback socket that answers, or misbehaves, as a script says."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[socket.socket, "Rogue"], None]


@dataclass
class Rogue:
    """Plays one behaviour per connection, the last one again and again."""

    script: list[Behaviour]
    port: int = 0
    scheme: str = "http"
    seen: list[Seen] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    def next_behaviour(self) -> Behaviour:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def rogue(*script: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Rogue]:
    with socket.create_server(("localhost", 0)) as listener:
        gateway = Rogue(list(script or [answer()]), listener.getsockname()[1])
        gateway.scheme = "https" if tls else "http"

        def serve() -> None:
            with suppress(OSError):  # the listener was shut down
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=play, args=(connection,), daemon=True).start()

        def play(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                if tls:
                    connection = tls.wrap_socket(connection, server_side=True)
                with connection:
                    gateway.next_behaviour()(connection, gateway)

        acceptor = threading.Thread(target=serve, daemon=True)
        acceptor.start()
        try:
            yield gateway
        finally:
            gateway.released.set()
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()


def read_request(connection: socket.socket, gateway: Rogue) -> Seen:
    headers: dict[str, str] = {}
    with connection.makefile("rb") as stream:
        first = stream.readline().decode()
        if not first:
            raise ConnectionError("nothing was sent")
        method, path, _ = first.split(" ", 2)
        while line := stream.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", 0)))
    request = Seen(method, path, headers, body)
    gateway.seen.append(request)
    gateway.asked.set()
    return request


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Behaviour:
    def play(connection: socket.socket, gateway: Rogue) -> None:
        read_request(connection, gateway)
        connection.sendall(raw_answer(status, body, headers))

    return play


def raw_answer(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer_when_released(connection: socket.socket, gateway: Rogue) -> None:
    read_request(connection, gateway)
    gateway.released.wait(20)
    connection.sendall(raw_answer(200, b"", {}))


def stall(connection: socket.socket, gateway: Rogue) -> None:
    read_request(connection, gateway)
    gateway.released.wait(20)


def drip(connection: socket.socket, gateway: Rogue) -> None:
    """Answers so slowly that no read ever times out."""
    read_request(connection, gateway)
    for byte in raw_answer(200, b"", {}) * 10:
        connection.sendall(bytes([byte]))
        if gateway.released.wait(0.05):
            return


def silence(connection: socket.socket, gateway: Rogue) -> None:
    """Takes the connection and never says or reads anything: no handshake, no tunnel."""
    gateway.released.wait(20)


def slow_reader(connection: socket.socket, gateway: Rogue) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    while connection.recv(4096):
        if gateway.released.wait(0.05):
            return


def reset_at_once(connection: socket.socket, gateway: Rogue) -> None:
    connection.recv(1)
    gateway.seen.append(Seen("", "", {}, b""))
    reset(connection)


def reset_after_body(connection: socket.socket, gateway: Rogue) -> None:
    read_request(connection, gateway)
    reset(connection)


def reset(connection: socket.socket) -> None:
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


_not_listening = socket.socket()
_not_listening.bind(("localhost", 0))


def closed_port() -> int:
    """A port where nobody listens, now or later: it is bound."""
    return _not_listening.getsockname()[1]


def statuses(*codes: int) -> Sequence[Behaviour]:
    return [answer(code, f"no {code}".encode() if code >= 300 else b"") for code in codes]
