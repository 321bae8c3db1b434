"""Listening sockets: TCP in the notation of Go, Unix sockets, and those of systemd."""

import errno
import os
import re
import socket
import stat
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from pushgate.errors import StartupError

BACKLOG = 2048
"""How many connections may wait until they are accepted; the kernel may allow fewer."""
_FIRST_SYSTEMD_FD = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
_UNIX = "unix:"
_address = re.compile(r"(?:\[([^][]*)\]|([^][:]*)):([0-9]{0,5})").fullmatch


def listen(addresses: Sequence[str], *, shares_ports: bool = False) -> list[socket.socket]:
    """Return a listening socket for each of *addresses*; all of them, or none.

    Closing a Unix socket also removes its file. With *shares_ports*, other processes of the same
    user may listen on the same ports if they ask for it, too; the kernel then distributes the
    connections among them.

    An address is ``host:port``, ``:port`` (IPv4 and IPv6), ``[::1]:port`` or ``unix:/path``.

    Raises:
        StartupError: one of them is not available; one line that says which and why.
    """
    with ExitStack() as opened:  # closes what it has if a later address is not available
        sockets = [
            opened.enter_context(_listen(address, shares_ports=shares_ports))
            for address in addresses
        ]
        opened.pop_all()
    return sockets


def from_systemd(environment: Mapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd passed to this process (`sd_listen_fds(3)`).

    Raises:
        StartupError: there are none, or one is not a listening stream socket.
    """
    # A child of the activated process inherits the variables, but not the sockets.
    if environment.get("LISTEN_PID") != str(os.getpid()):
        raise StartupError(_NO_SOCKETS)
    try:
        count = int(environment.get("LISTEN_FDS", ""))
    except ValueError:
        count = 0
    if count < 1:
        raise StartupError(_NO_SOCKETS)
    return [_adopt(fd) for fd in range(_FIRST_SYSTEMD_FD, _FIRST_SYSTEMD_FD + count)]


def address_text(listener: socket.socket) -> str:
    """Return the address *listener* has, as Go's log writes it: ``[::]:9091``."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"{_UNIX}{os.fsdecode(name)}"
    return _host_and_port(name)


def _host_and_port(name: tuple[Any, ...]) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _UnixListener(socket.socket):
    """A Unix socket whose file is removed when it is closed."""

    _path: Path | None = None
    _file: os.stat_result

    def bind(self, path: str) -> None:  # type: ignore[override]  # any address there
        super().bind(path)
        self._path = Path(path)
        self._file = self._path.lstat()

    def close(self) -> None:
        """Close the socket. The file stays if by now it is that of another server."""
        path, self._path = self._path, None
        if path is not None:
            with suppress(OSError):
                if os.path.samestat(path.lstat(), self._file):
                    path.unlink()
        super().close()


_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_NO_SOCKETS = (
    "no socket activation file descriptors found;"
    " start this from a systemd socket unit, or leave --web.systemd-socket out"
)


def _listen(address: str, *, shares_ports: bool) -> socket.socket:
    if address.startswith(_UNIX):
        if shares_ports:
            raise StartupError(
                f"listen {address}: processes cannot share a Unix socket as they share a port; "
                "leave --web.reuse-port out, or listen on host:port"
            )
        return _listen_unix(Path(address.removeprefix(_UNIX)))
    parts = _address(address or ":")
    host, port = (parts[1] or parts[2] or "", int(parts[3] or 0)) if parts else ("", -1)
    if not 0 <= port <= 65535:
        raise StartupError(f"listen {address}: expected host:port, :port, [::1]:port or unix:/path")
    if host in ("", "::"):
        return _bind(("::", port), socket.AF_INET6, shares_ports=shares_ports)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise StartupError(f"listen tcp: lookup {host}: no such host") from None
    # As Go does, an IPv4 address first: that is what localhost means to most.
    family, *_, name = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return _bind(name, family, shares_ports=shares_ports)


def _bind(name: tuple[Any, ...], family: int, *, shares_ports: bool) -> socket.socket:
    """Listen on *name*; the address ``::`` means IPv4 as well, or only IPv4 where IPv6 is off."""
    # One socket for both families, as Go's listeners have it.
    is_both = name[0] == "::"
    try:
        return socket.create_server(
            name, family=family, backlog=BACKLOG, reuse_port=shares_ports, dualstack_ipv6=is_both
        )
    except ValueError:  # Python knows that there is no IPv6
        if not is_both:
            raise
    except OSError as error:
        # The kernel may know IPv6, and no interface have it.
        if not (is_both and error.errno in _NO_IPV6):
            where = _host_and_port(name)
            raise StartupError(f"listen tcp {where}: bind: {_reason(error)}") from None
    everywhere = ("0.0.0.0", name[1])  # noqa: S104 - what `:port` asks for
    return _bind(everywhere, socket.AF_INET, shares_ports=shares_ports)


def _listen_unix(path: Path) -> socket.socket:
    listener = _UnixListener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A socket file outlives a killed server, and would make every later start fail.
        _remove_stale(path)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except (OSError, ValueError) as error:
        listener.close()
        reason = _reason(error) if isinstance(error, OSError) else str(error)
        raise StartupError(f"listen unix {path}: bind: {reason}") from None
    return listener


def _remove_stale(path: Path) -> None:
    """Remove the socket of a server that was killed, and nothing else."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()


def _adopt(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartupError(f"systemd socket {fd}: {_reason(error)}") from None
    if listener.family not in _FAMILIES:
        listener.close()
        raise StartupError(
            f"systemd socket {fd} is of family {int(listener.family)}; only TCP and Unix sockets"
            " are supported, so use ListenStream= with a port or a path"
        )
    if not listening or listener.type != socket.SOCK_STREAM:
        listener.close()  # with Accept=yes it is a connection, and each has its own process
        raise StartupError(f"systemd socket {fd} does not listen; use ListenStream= and Accept=no")
    listener.set_inheritable(False)  # systemd leaves them open for children
    return listener


def _reason(error: OSError) -> str:
    """Return Go's text for *error*, and what to do about it."""
    if error.errno is None:
        return str(error)
    return os.strerror(error.errno).lower() + _ADVICE.get(error.errno, "")


_ADVICE = {
    errno.EADDRINUSE: "; stop the program that listens there, or give another --web.listen-address",
    errno.EADDRNOTAVAIL: "; this machine has no such address",
    errno.EACCES: "; ports below 1024 need a privilege, and Unix sockets a writable directory",
}
