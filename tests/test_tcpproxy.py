import socket
import threading
from contextlib import closing

import pytest

from tests.tcpproxy import proxied


@pytest.fixture
def echo():
    """A server that answers with what it gets, and keeps it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        got: list[bytes] = []

        def serve(connection):
            with closing(connection):
                try:
                    while piece := connection.recv(1000):
                        got.append(piece)
                        connection.sendall(piece)
                except OSError:
                    pass

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], got
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo):
    with proxied(echo[0]) as proxy:
        yield proxy


@pytest.fixture
def client(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        yield client


def test_a_cut_connection_is_reset_and_the_next_one_works(proxy, client):
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as other:
        other.sendall(b"again")
        assert other.recv(100) == b"again"


def test_a_half_closed_connection_ends_for_the_client_only(proxy, client, echo):
    proxy.half_close()
    assert client.recv(100) == b""
    client.sendall(b"more")
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as other:
        other.sendall(b"other")
        assert other.recv(100) == b"other"


def test_swallowed_bytes_never_arrive(proxy, client, echo):
    proxy.swallows = True
    client.sendall(b"lost")
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.recv(100)
    assert b"lost" not in echo[1]


def test_cut_before_a_piece_the_server_does_not_get_it(proxy, client, echo):
    proxy.cut_before = b"COMMIT"
    client.sendall(b"COMMIT")
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    assert echo[1] == [b"hello"]


def test_cut_after_a_piece_only_the_answer_is_lost(proxy, client, echo):
    proxy.cut_after = b"COMMIT"
    client.sendall(b"COMMIT")
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    while echo[1] != [b"hello", b"COMMIT"]:
        pass


def test_where_nobody_listens_a_connection_ends():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with (
        proxied(port) as proxy,
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client,
    ):
        client.recv(100)
