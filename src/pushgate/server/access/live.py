"""The web configuration in force, and its replacement while the server runs."""

import asyncio
from pathlib import Path

from pushgate.errors import StartupError
from pushgate.server.access.auth import Access
from pushgate.server.access.config import WebConfig
from pushgate.server.access.config_file import load
from pushgate.server.access.credentials import CredentialStore
from pushgate.server.access.tls import ListenerContext, ServerContext, server_context
from pushgate.server.live import LiveFiles


class LiveConfig(LiveFiles):
    """The last valid web configuration; that of no file if *path* is None.

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
        self.config, store, tls = self._read(None)
        super().__init__(self.config.files)
        self.access = Access(self.config, store=store)
        self.context = ListenerContext.around(tls) if tls else None

    def _read(
        self, previous: CredentialStore | None
    ) -> tuple[WebConfig, CredentialStore, ServerContext | None]:
        config = load(self._path) if self._path else WebConfig()
        tls = server_context(config.tls) if config.tls else None
        return config, CredentialStore(config, previous), tls

    async def _reload(self) -> bool:
        config, store, tls = await asyncio.to_thread(self._read, self.access.store)
        if (tls is None) != (self.context is None):
            raise StartupError("TLS can't be turned on or off without a restart")
        if config == self.config:  # keep the state of access
            self.config = config
            return False
        # A full disk, or a template without values, must not open the gateway.
        became_empty = config.empty if config.empty != self.config.empty else ""
        if became_empty and not config.requires_credentials:
            raise StartupError(f"{became_empty}; if this is intended, restart the server")
        access = self.access.successor(config, store)
        if tls and self.context:
            self.context.current = tls
        self.config, self.access, self.files = config, access, config.files
        return True
