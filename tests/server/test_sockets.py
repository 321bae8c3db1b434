import os
import socket
import stat
import subprocess
import sys

import pytest

from pushgate.errors import StartupError
from pushgate.server.sockets import address_text, from_systemd, listen


def refusal(*addresses: str) -> str:
    with pytest.raises(StartupError) as caught:
        listen(addresses)
    return str(caught.value)


def connects(listener: socket.socket, host: str) -> bool:
    with socket.create_connection((host, listener.getsockname()[1]), timeout=5):
        return True


def test_listens_on_a_host_and_a_port():
    (listener,) = listen(["127.0.0.1:0"])
    with listener:
        assert connects(listener, "127.0.0.1")
        assert address_text(listener) == f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("address", [":0", "", ":", "[::]:0"])
def test_listens_everywhere_when_no_host_is_given(address):
    (listener,) = listen([address])
    with listener:
        assert connects(listener, "127.0.0.1")
        assert connects(listener, "::1")
        assert address_text(listener) == f"[::]:{listener.getsockname()[1]}"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_listens_on_an_ipv6_address():
    (listener,) = listen(["[::1]:0"])
    with listener:
        assert connects(listener, "::1")


def test_a_name_means_its_ipv4_address():
    (listener,) = listen(["localhost:0"])
    with listener:
        assert listener.family == socket.AF_INET


def test_several_addresses_are_several_listeners():
    listeners = listen(["127.0.0.1:0", "127.0.0.1:0"])
    assert len({listener.getsockname() for listener in listeners}) == 2
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize(
    "address",
    [
        "99999",
        "foo",
        "[::1]",
        "[::1",
        "::1:80",
        ":99999",
        "127.0.0.1:-1",
        "foo:bar",
        ":1_0",
        "vsock://:9100",
    ],
)
def test_what_is_no_address_is_refused(address):
    expected = "expected host:port, :port, [::1]:port or unix:/path"
    assert refusal(address) == f"listen {address}: {expected}"


def test_a_host_that_does_not_exist_is_refused():
    assert refusal("256.1.1.1:80") == "listen tcp: lookup 256.1.1.1: no such host"


def test_a_port_that_is_taken_is_named_with_what_to_do():
    (taken,) = listen(["127.0.0.1:0"])
    with taken:
        port = taken.getsockname()[1]
        assert refusal(f"127.0.0.1:{port}") == (
            f"listen tcp 127.0.0.1:{port}: bind: address already in use;"
            " stop the program that listens there, or give another --web.listen-address"
        )


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_port_is_shared_with_those_that_share_it_too(host):
    (first,) = listen([f"{host}:0"], shares_ports=True)
    with first:
        address = f"{host}:{first.getsockname()[1]}"
        (second,) = listen([address], shares_ports=True)
        with second:
            assert second.getsockname() == first.getsockname()
        assert "address already in use" in refusal(address)


def test_a_unix_socket_cannot_be_shared(tmp_path):
    with pytest.raises(StartupError) as caught:
        listen([f"unix:{tmp_path}/socket"], shares_ports=True)
    assert str(caught.value) == (
        f"listen unix:{tmp_path}/socket: processes cannot share a Unix socket as they share a"
        " port; leave --web.reuse-port out, or listen on host:port"
    )
    assert [*tmp_path.iterdir()] == []


def test_an_address_of_another_machine_is_refused():
    assert refusal("192.0.2.1:1") == (
        "listen tcp 192.0.2.1:1: bind: cannot assign requested address;"
        " this machine has no such address"
    )


def test_if_one_address_fails_none_is_kept(tmp_path):
    path = tmp_path / "socket"
    refusal(f"unix:{path}", "foo")
    with (
        socket.socket(socket.AF_UNIX) as client,
        pytest.raises(OSError, match=r"refused|such file"),
    ):
        client.connect(str(path))


def test_listens_on_a_unix_socket_and_removes_it(tmp_path):
    path = tmp_path / "socket"
    listeners = listen([f"unix:{path}"])
    assert address_text(listeners[0]) == f"unix:{path}"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    for listener in listeners:
        listener.close()
    assert not path.exists()


def test_a_unix_socket_left_by_a_killed_server_is_replaced(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listen([f"unix:{path}"])[0].close()


def test_a_unix_socket_in_use_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "socket"
    listeners = listen([f"unix:{path}"])
    assert "bind: address already in use" in refusal(f"unix:{path}")
    assert stat.S_ISSOCK(path.stat().st_mode)
    for listener in listeners:
        listener.close()


def test_the_socket_file_of_another_server_stays_when_ours_is_closed(tmp_path):
    path = tmp_path / "socket"
    [ours] = listen([f"unix:{path}"])
    path.unlink()
    [theirs] = listen([f"unix:{path}"])
    ours.close()
    assert path.exists()
    theirs.close()
    assert not path.exists()


@pytest.mark.parametrize("address", [":0", "[::]:0"])
def test_without_ipv6_it_listens_on_all_ipv4_addresses(monkeypatch, address):
    monkeypatch.setattr(socket, "has_ipv6", False)
    (listener,) = listen([address])
    with listener:
        assert listener.family == socket.AF_INET
        assert connects(listener, "127.0.0.1")


def test_another_file_is_never_replaced_by_a_socket(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    assert "bind: address already in use" in refusal(f"unix:{path}")
    assert path.read_text() == "data"


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/nonexistent/socket", "no such file or directory"), ("/" + "x" * 200, "path too long")],
)
def test_a_unix_socket_that_cannot_be_is_refused(path, reason):
    assert reason in refusal(f"unix:{path}")


@pytest.mark.parametrize(
    "environment",
    [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": str(os.getpid())}]
    + [{"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count} for count in ("0", "x", "-1")],
)
def test_without_sockets_from_systemd_the_start_is_refused(environment):
    with pytest.raises(StartupError, match=r"^no socket activation file descriptors found;"):
        from_systemd(environment)


SERVED = """
import os
from pushgate.server.sockets import from_systemd
for listener in from_systemd(os.environ):
    connection, _ = listener.accept()
    connection.sendall(b"hello")
    assert not listener.get_inheritable()
"""


AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2]])
"""


def started_with_fd_3(passed: socket.socket, code: str) -> subprocess.Popen[bytes]:
    """Start Python as systemd starts a service: *passed* is file descriptor 3."""
    return subprocess.Popen(
        [sys.executable, "-c", AS_SYSTEMD, str(passed.fileno()), code],
        pass_fds=[passed.fileno()],
        stderr=subprocess.PIPE,
    )


def test_serves_on_the_sockets_systemd_passes():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = started_with_fd_3(listener, SERVED)
        with socket.create_connection(listener.getsockname(), timeout=30) as client:
            assert client.recv(10) == b"hello"
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, b"")


def test_a_unix_socket_of_systemd_stays_when_it_is_closed(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        process = started_with_fd_3(listener, SERVED + "    listener.close()\n")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert client.recv(10) == b"hello"
        assert process.communicate(timeout=30) == (None, b"")
    assert path.exists()


@pytest.mark.skipif(not hasattr(socket, "AF_VSOCK"), reason="this system has no AF_VSOCK")
def test_a_systemd_socket_of_another_family_is_refused():
    try:
        vsock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        vsock.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
        vsock.listen()
    except OSError as error:
        pytest.skip(f"no vsock here: {error}")
    with vsock:
        _, errors = started_with_fd_3(vsock, SERVED).communicate(timeout=30)
    assert b"systemd socket 3 is of family 40; only TCP and Unix sockets" in errors


def test_a_systemd_socket_that_does_not_listen_is_refused():
    left, right = socket.socketpair()
    with left, right:
        _, errors = started_with_fd_3(left, SERVED).communicate(timeout=30)
    assert b"systemd socket 3 does not listen; use ListenStream= and Accept=no" in errors
