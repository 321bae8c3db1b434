"""What a service tells systemd: that it is ready, stops, and is alive (`sd_notify(3)`)."""

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from pushgate.errors import StartupError


class Notifier:
    """Sends states to the socket that ``NOTIFY_SOCKET`` names; without one it does nothing.

    The variables are taken out of *environment*: they are meant for this process only.

    Raises:
        StartupError: the socket is not one that can be reached.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        interval = environment.pop("WATCHDOG_USEC", "")
        process = environment.pop("WATCHDOG_PID", "") or str(os.getpid())
        self._socket: socket.socket | None = None
        self.watchdog_seconds = 0.0
        """How often systemd wants to hear ``WATCHDOG=1``, halved as it advises; 0 for never."""
        if not address:
            return
        if not address.startswith(("/", "@")):
            raise StartupError(f"NOTIFY_SOCKET={address}: only Unix sockets are supported")
        if address.startswith("@"):  # of the abstract namespace
            address = "\0" + address[1:]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect(address)
        except (OSError, ValueError) as error:
            self._socket.close()
            raise StartupError(f"NOTIFY_SOCKET={address!r}: {error}") from None
        if interval.isdigit() and process == str(os.getpid()):
            self.watchdog_seconds = int(interval) / 2e6

    def send(self, state: str) -> None:
        """Send *state*, such as ``READY=1``. What is lost is lost: systemd will notice."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send(state.encode())

    def close(self) -> None:
        """Send nothing any more."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
