"""Notifies systemd that the service is ready, is stopping, or is alive (`sd_notify(3)`)."""

import logging
import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

_log = logging.getLogger(__name__)

_MAX_SEND_SECONDS: Final = 1.0


class Notifier:
    """Sends states to the socket that ``NOTIFY_SOCKET`` names; without one it does nothing.

    A socket that cannot be reached is logged: metrics are worth more than the notification.
    The variables are taken out of *environment*: they are meant for this process only.
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
        try:
            self._socket = _connected(address)
        except (OSError, ValueError) as error:
            said = {"NOTIFY_SOCKET": repr(address), "err": str(error)}
            _log.warning("cannot notify systemd", extra=said)
            return
        # The variables may be meant for a wrapper that started this process.
        if interval.isdecimal() and process == str(os.getpid()):
            self.watchdog_seconds = int(interval) / 2e6

    def send(self, state: str) -> None:
        """Send *state*, such as ``READY=1``. Failures are ignored: systemd notices the silence."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send(state.encode())

    def close(self) -> None:
        """Close the socket. States sent later are dropped."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def _connected(address: str) -> socket.socket:
    if not address.startswith(("/", "@")):
        raise ValueError("only Unix sockets are supported")
    if address.startswith("@"):  # of the abstract namespace
        address = "\0" + address[1:]
    # Each state is one datagram.
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    connected.settimeout(_MAX_SEND_SECONDS)  # a full queue must not stop the event loop
    try:
        connected.connect(address)
    except BaseException:
        connected.close()
        raise
    return connected
