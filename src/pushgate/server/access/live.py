"""The web configuration in force, and its replacement while the server runs."""

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pushgate.errors import StartupError
from pushgate.server.access.auth import Access
from pushgate.server.access.config import WebConfig
from pushgate.server.access.config_file import load
from pushgate.server.access.credentials import CredentialStore
from pushgate.server.access.tls import ListenerContext, ServerContext, server_context
from pushgate.server.polling import polls

_Signature = tuple[tuple[int, int, int] | None, ...]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The outcome of a reload. *error* is None if the new configuration is in force."""

    error: StartupError | None = None


class LiveConfig:
    """The last valid web configuration.

    Only `watch` changes it, on the event loop and as a whole. Files are read in a thread,
    so a slow disk delays no request.

    Attributes:
        config: the configuration.
        access: decides about requests; read it anew for each.
        context: for the TLS listeners, or None without TLS. New handshakes use the
            certificates and settings that are in force then.

    Raises:
        StartupError: the file, or one that it names, can't be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._error: StartupError | None = None
        # Unknown, so that the second poll reads again: the files may change while we read
        # them for the first time.
        self._seen: _Signature | None = None
        self._loaded: _Signature | None = None
        self._reload_requested = asyncio.Event()
        loaded = _read(path, None)
        self.config = loaded.config
        self.access = Access(loaded.config, store=loaded.store)
        self.context = ListenerContext.around(loaded.tls) if loaded.tls else None

    async def watch(self, report: Callable[[Reloaded], None]) -> None:
        """Follow the files until cancelled; *report* gets each new outcome."""
        async for is_requested in polls(self._reload_requested):
            try:
                outcome = await (self.reload() if is_requested else self.poll())
            except Exception:  # noqa: BLE001 - without the watch, no later change would be seen
                _log.exception("could not reload the web configuration")
                continue
            if outcome is not None:
                report(outcome)

    def request_reload(self) -> None:
        """Have `watch` reload at once, as SIGHUP demands."""
        self._reload_requested.set()

    async def reload(self) -> Reloaded:
        """Read the files again; an invalid configuration changes nothing."""
        try:
            self._replace(await asyncio.to_thread(_read, self._path, self.access.store))
        except StartupError as error:
            self._error = error
            return Reloaded(error)
        self._error = None
        return Reloaded()

    async def poll(self) -> Reloaded | None:
        """Reload if the files have changed, and not again since the previous poll.

        A certificate and its key are two files. Waiting until both are written keeps us from
        reading only one of them. Returns None if there is nothing to report: an error is
        reported once, not with every poll.
        """
        files = self.config.files
        signature = await asyncio.to_thread(lambda: tuple(map(_stat, files)))
        settled, self._seen = signature == self._seen, signature
        # After an error the reason may be a file that is not among ours, so try each time.
        if not settled or (signature == self._loaded and self._error is None):
            return None
        before = self.config, str(self._error)
        outcome = await self.reload()
        self._loaded = signature
        return None if before == (self.config, str(self._error)) else outcome

    def _replace(self, new: "_Loaded") -> None:
        if (new.tls is None) != (self.context is None):
            raise StartupError("TLS can't be turned on or off without a restart")
        if new.config == self.config:  # keep the state of access
            self.config = new.config
            return
        # A full disk, or a template without values, must not open the gateway.
        became_empty = new.config.empty if new.config.empty != self.config.empty else ""
        if became_empty and not new.config.requires_credentials:
            raise StartupError(f"{became_empty}; if that is meant, restart the server")
        access = Access(new.config, store=new.store, previous=self.access)
        if new.tls and self.context:
            self.context.current = new.tls
        self.config, self.access = new.config, access


class _Loaded(NamedTuple):
    """What a thread has read from the files."""

    config: WebConfig
    store: CredentialStore
    tls: ServerContext | None


def _read(path: Path | None, previous: CredentialStore | None) -> _Loaded:
    config = load(path) if path else WebConfig()
    tls = server_context(config.tls) if config.tls else None
    return _Loaded(config, CredentialStore(config, previous), tls)


def _stat(file: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - follows links: Kubernetes swaps one to rotate secrets
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
