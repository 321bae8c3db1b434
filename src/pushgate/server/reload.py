"""The web configuration in force, and its replacement while the server runs."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pushgate.errors import StartupError
from pushgate.server.auth import Access
from pushgate.server.tls import ListenerContext, ServerContext, server_context
from pushgate.server.webconfig import WebConfig, load

_Signature = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The outcome of reading the configuration again: *error* None means it is in force."""

    error: StartupError | None = None


class LiveConfig:
    """What the web configuration file says now, or said when it last made sense.

    Read *access* anew for each request. Give *context* to the TLS listeners once: its
    certificates and settings follow the file, for new handshakes only. Both change only
    in `reload` and `poll`, each at once and together with the other.

    Raises:
        StartupError: the file, or one that it names, can't be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._error: StartupError | None = None
        # Unknown, so that the second poll reads again: a file may change while we read it.
        self._seen: _Signature | None = None
        self._loaded: _Signature | None = None
        self.config, tls = _read(path)
        self.access = Access(self.config)
        self.context = ListenerContext.around(tls) if tls else None

    def reload(self) -> Reloaded:
        """Read the file again, as on SIGHUP; keep what is in force if it makes no sense."""
        try:
            self._replace(*_read(self._path))
        except StartupError as error:
            self._error = error
            return Reloaded(error)
        self._error = None
        return Reloaded()

    def poll(self) -> Reloaded | None:
        """Reload if a file has changed, and then kept still until the next poll.

        Call it each second, say. A certificate and its key are two files: waiting until
        nothing changes any more keeps us from reading one of them too early. Returns None
        when there is nothing new to tell: an error is told once, not every second.
        """
        signature = _signature(self.config.files)
        still, self._seen = signature == self._seen, signature
        if not still or (signature == self._loaded and self._error is None):
            return None
        before = self.config, str(self._error)
        outcome = self.reload()
        self._loaded = signature
        return None if before == (self.config, str(self._error)) else outcome

    def _replace(self, config: WebConfig, tls: ServerContext | None) -> None:
        if (tls is None) != (self.context is None):
            raise StartupError("TLS can't be turned on or off without a restart")
        if config == self.config:
            return  # the fetched keys of JWT issuers stay
        access = Access(config, previous=self.access)
        if tls and self.context:
            self.context.current = tls
        self.config, self.access = config, access


def _read(path: Path | None) -> tuple[WebConfig, ServerContext | None]:
    config = load(path) if path else WebConfig()
    return config, server_context(config.tls) if config.tls else None


def _signature(files: Iterable[Path]) -> _Signature:
    return tuple(map(_stat, files))


def _stat(file: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - follows links: Kubernetes swaps one to rotate secrets
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
