"""The web configuration in force, and its replacement while the server runs."""

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pushgate.errors import StartupError
from pushgate.server.access.auth import Access
from pushgate.server.access.credentials import CredentialStore
from pushgate.server.access.tls import ListenerContext, ServerContext, server_context
from pushgate.server.access.webconfig import WebConfig, load

_Signature = tuple[tuple[int, int, int] | None, ...]

_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The outcome of reading the configuration again: *error* None means it is in force."""

    error: StartupError | None = None


class LiveConfig:
    """What the web configuration file says now, or said when it last made sense.

    Read *access* anew for each request. Give *context* to the TLS listeners once: its
    certificates and settings follow the file, for new handshakes only. Both change only
    while `watch` runs (or in `reload` and `poll`, which it calls), each at once and
    together with the other. Files are read in a thread: a slow disk holds up nobody.

    Raises:
        StartupError: the file, or one that it names, can't be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._error: StartupError | None = None
        # Unknown, so that the second poll reads again: a file may change while we read it.
        self._seen: _Signature | None = None
        self._loaded: _Signature | None = None
        self._asked = asyncio.Event()
        loaded = _read(path, None)
        self.config = loaded.config
        self.access = Access(loaded.config, store=loaded.store)
        self.context = ListenerContext.around(loaded.tls) if loaded.tls else None

    async def watch(self, told: Callable[[Reloaded], None]) -> None:
        """Follow the files, until cancelled; *told* hears of each new outcome."""
        while True:
            try:
                async with asyncio.timeout(_SECONDS_BETWEEN_LOOKS):
                    await self._asked.wait()
            except TimeoutError:
                outcome = await self.poll()
            else:
                self._asked.clear()
                outcome = await self.reload()
            if outcome is not None:
                told(outcome)

    def hang_up(self) -> None:
        """Have `watch` reload at once, as SIGHUP demands."""
        self._asked.set()

    async def reload(self) -> Reloaded:
        """Read the file again; keep what is in force if it makes no sense."""
        try:
            self._replace(await asyncio.to_thread(_read, self._path, self.access.store))
        except StartupError as error:
            self._error = error
            return Reloaded(error)
        self._error = None
        return Reloaded()

    async def poll(self) -> Reloaded | None:
        """Reload if a file has changed, and then kept still until the next poll.

        A certificate and its key are two files: waiting until nothing changes any more
        keeps us from reading one of them too early. Returns None when there is nothing new
        to tell: an error is told once, not every second.
        """
        signature = await asyncio.to_thread(_signature, self.config.files)
        still, self._seen = signature == self._seen, signature
        if not still or (signature == self._loaded and self._error is None):
            return None
        before = self.config, str(self._error)
        outcome = await self.reload()
        self._loaded = signature
        return None if before == (self.config, str(self._error)) else outcome

    def _replace(self, new: "_Loaded") -> None:
        if (new.tls is None) != (self.context is None):
            raise StartupError("TLS can't be turned on or off without a restart")
        if new.config == self.config:
            self.config = new.config
            return
        # A disk that was full, or a template without values, must not open the gateway.
        if (
            new.config.hollow != self.config.hollow
            and new.config.hollow
            and not new.config.requires_credentials
        ):
            raise StartupError(f"{new.config.hollow}; if that is meant, restart the server")
        access = Access(new.config, store=new.store, previous=self.access)
        if new.tls and self.context:
            self.context.current = new.tls
        self.config, self.access = new.config, access


class _Loaded(NamedTuple):
    """What takes time to make of the files."""

    config: WebConfig
    store: CredentialStore
    tls: ServerContext | None


def _read(path: Path | None, previous: CredentialStore | None) -> _Loaded:
    config = load(path) if path else WebConfig()
    tls = server_context(config.tls) if config.tls else None
    return _Loaded(config, CredentialStore(config, previous), tls)


def _signature(files: Iterable[Path]) -> _Signature:
    return tuple(map(_stat, files))


def _stat(file: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)  # noqa: PTH116 - follows links: Kubernetes swaps one to rotate secrets
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
