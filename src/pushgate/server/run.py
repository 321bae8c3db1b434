"""The process: settings, journal, listeners, signals; from start to exit."""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from pushgate.errors import NotWritable, StartupError
from pushgate.formats.bodies import Bodies
from pushgate.formats.room import Room
from pushgate.model.duration import format_duration
from pushgate.model.names import NameRule
from pushgate.server import logs, sockets
from pushgate.server.access.live import LiveConfig, Reloaded
from pushgate.server.access.tls import caveats
from pushgate.server.connection import Connection, expire
from pushgate.server.exposition import Views
from pushgate.server.gateway import Gateway
from pushgate.server.http.app import App
from pushgate.server.http.desk import PushDesk
from pushgate.server.http.site import Site
from pushgate.server.settings import Settings
from pushgate.server.storage.lock import FileLock
from pushgate.server.storage.opening import locked, opened_journal
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store import Bounds, Store
from pushgate.server.telemetry import Telemetry
from pushgate.server.version import BUILD

_log = logging.getLogger(__name__)

# How long a stop waits for requests that are under way.
_GRACE_SECONDS = 10
# How long an exposition is kept that nobody scrapes.
_UNUSED_SECONDS = 300
# The journal's thread needs the interpreter lock for a moment after each sync. Python's
# default would let it wait five milliseconds, and every push of the batch with it.
_SWITCH_SECONDS = 0.0005
# Nearly nothing here is cyclic; each full collection would walk all groups.
_GC_THRESHOLDS = (50_000, 20, 100)
_BACKLOG = 2048
# How long a TLS client that was sent away may take to say goodbye.
_SHUTDOWN_SECONDS = 5


def serve(settings: Settings) -> int:
    """Run the server until it is asked to stop; return the exit status.

    A failure to start is one line on stderr that says what to do, and status 1.
    """
    logs.configure(settings.log_level, settings.log_format)
    sys.setswitchinterval(_SWITCH_SECONDS)
    _allow_connections()
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        return _Process(settings).run()
    except StartupError as error:
        line = " ".join(part.strip() for part in str(error).splitlines())
        sys.stderr.write(f"pushgate: {line}\n")
        return 1


class _Process:
    """What lives as long as the process."""

    def __init__(self, settings: Settings) -> None:
        """Open everything; a :exc:`StartupError` says what could not be."""
        self._settings = settings
        _log_start()
        self._live = _web_config(settings.web_config_file)
        self._telemetry = Telemetry()
        self._store = Store(self._telemetry.own, _bounds(settings))
        # First: a server that waits for the file of another waits for its address too.
        lock = self._locked()
        self._listeners = _listeners(settings)
        self._journal = self._load(lock) if lock else None
        self._gateway = Gateway(self._store, self._journal)
        self._views = Views(self._store, self._telemetry)
        self._show_store()

    def _locked(self) -> FileLock | None:
        """Return the right to the persistence file, None if metrics are only in memory."""
        if not self._settings.persistence_file:
            return None
        path = Path(self._settings.persistence_file)
        try:
            return locked(path, self._settings.persistence_wait / 1e9)
        except NotWritable as error:
            if "persistence_file" in self._settings.given:
                raise
            _log.warning(
                "metrics are kept only in memory and lost at the next stop; name a file that "
                "can be written with --persistence.file",
                extra={"err": str(error).partition("; ")[0]},
            )
            return None

    def _load(self, lock: FileLock) -> SqliteJournal:
        path = Path(self._settings.persistence_file)
        reset = self._settings.persistence_reset_damaged
        journal, groups = opened_journal(path, lock, reset_damaged=reset, now=time.time())
        self._store.load(groups)
        return journal

    def _show_store(self) -> None:
        gauge = self._telemetry.gauge
        gauge("pushgate_groups", "Groups stored.", lambda: len(self._store))
        gauge(
            "pushgate_series", "Series stored, the push times left out.", lambda: self._store.series
        )
        gauge(
            "pushgate_pushes_waiting",
            "Changes admitted and not yet durable.",
            lambda: self._gateway.waiting,
        )
        gauge(
            "pushgate_journal_ready",
            "1 if the last write of the journal succeeded, else 0.",
            lambda: self._gateway.is_ready,
        )
        self._telemetry.counter(
            "pushgate_journal_failures_total",
            "Failed attempts to write or find the journal.",
            lambda: self._gateway.journal_failures,
        )
        self._telemetry.counter(
            "pushgate_journal_checkpoint_failures_total",
            "Checkpoints of the journal that failed.",
            lambda: self._journal.tidy_failures if self._journal else 0,
        )

    def run(self) -> int:
        """Serve until stopped; return the exit status."""
        gc.collect()
        gc.freeze()
        server = _Server(
            self._config(),
            self._tick,
            self._live.request_reload,
            self._settings.limit_header_seconds or None,
        )
        server.config.loaded_app = App(self._site(server))
        for listener in self._listeners:
            self._announce(listener)
        self._log_config()
        try:
            with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
                runner.run(self._serve(server))
        finally:
            for listener in self._listeners:
                listener.close()
        _log.info("HTTP server stopped")
        return 0

    def _config(self) -> uvicorn.Config:
        config = uvicorn.Config(
            _unloaded,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        config.load()
        config.ssl = self._live.context
        return config

    def _site(self, server: "_Server") -> Site:
        names = NameRule.UTF8 if self._settings.push_enable_utf8_names else NameRule.LEGACY
        bodies = Bodies(
            names,
            most_bytes=self._settings.limit_decompressed_bytes,
            room=Room(
                self._settings.limit_series_per_push,
                self._settings.limit_labels_per_series,
                self._settings.limit_label_value_bytes,
            ),
        )
        self._telemetry.gauge(
            "pushgate_shape_cache_bytes",
            "Memory that known shapes of pushes cost besides the stored ones, in bytes.",
            lambda: float(bodies.cache_bytes),
        )
        return Site(
            settings=self._settings,
            gateway=self._gateway,
            desk=PushDesk(self._settings, self._gateway, self._telemetry, bodies),
            views=self._views,
            telemetry=self._telemetry,
            live=self._live,
            started=time.time_ns(),
            quit=server.quit,
        )

    def _announce(self, listener: socket.socket) -> None:
        address = sockets.shown(listener)
        _log.info("Listening on", extra={"address": address})
        secured = "disabled" if self._live.context is None else "enabled"
        _log.info(f"TLS is {secured}.", extra={"http2": "false", "address": address})

    def _log_config(self) -> None:
        """Log what in the web configuration operators should know of."""
        config = self._live.config
        if config.rate_limit:
            interval = format_duration(config.rate_limit.interval)
            burst = config.rate_limit.burst
            _log.info("Rate Limiter is enabled.", extra={"burst": burst, "interval": interval})
        for caveat in caveats(config.tls) if config.tls else ():
            _log.warning(caveat)

    async def _serve(self, server: "_Server") -> None:
        self._gateway.start()
        watching = asyncio.create_task(self._live.watch(self._told))
        await server.serve(self._listeners)
        watching.cancel()
        await self._gateway.close()

    def _tick(self, server: uvicorn.Server) -> None:
        """Do what is due each second."""
        expire(server.server_state.connections, asyncio.get_running_loop().time())
        self._views.forget_unused(time.monotonic() - _UNUSED_SECONDS)
        self._gateway.probe()

    def _told(self, outcome: Reloaded) -> None:
        if outcome.error is None:
            _log.info("web configuration reloaded")
            self._log_config()
            return
        self._telemetry.count_reload_failure()
        _log.error("Unable to parse configuration", extra={"err": str(outcome.error)})


class _Server(uvicorn.Server):
    """uvicorn's server with our signals, and work for each second."""

    def __init__(
        self,
        config: uvicorn.Config,
        tick: Callable[[uvicorn.Server], None],
        reload: Callable[[], None],
        handshake_seconds: int | None,
    ) -> None:
        super().__init__(config)
        self._handshake_seconds = handshake_seconds
        self._tick = tick
        self._reload = reload

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on *sockets*, as uvicorn does, with an end to handshakes."""
        config = self.config
        self.lifespan = config.lifespan_class(config)
        connection = partial(
            Connection, config=config, server_state=self.server_state, app_state={}
        )
        tls: dict[str, Any] = {}
        if config.ssl is not None:
            tls = {"ssl": config.ssl, "ssl_shutdown_timeout": _SHUTDOWN_SECONDS}
            tls["ssl_handshake_timeout"] = self._handshake_seconds
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(connection, sock=listener, backlog=_BACKLOG, **tls)
            for listener in sockets or ()
        ]
        self.started = True

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on SIGTERM and SIGINT, reload on SIGHUP; a second signal does not wait."""
        loop = asyncio.get_running_loop()
        stop = "received SIGINT/SIGTERM; exiting gracefully..."
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, logging.INFO, stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        yield

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop; ten times a second."""
        if counter % 10 == 0:
            self._tick(self)
        return await super().on_tick(counter)

    def quit(self) -> None:
        """Stop, because a request asked for it."""
        self._stop(
            logging.WARNING,
            "received termination request via web service, exiting gracefully...",
        )

    def _stop(self, level: int, message: str) -> None:
        if self.should_exit:
            self.force_exit = True
            return
        _log.log(level, message)
        self.should_exit = True


async def _unloaded(_scope: object, _receive: object, _send: object) -> None:
    """Stand in for the application until the server it needs is there."""
    raise NotImplementedError


def _allow_connections() -> None:
    """Allow as many open files as this process may have: connections are files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _log_start() -> None:
    version = f"(version={BUILD.version}, branch={BUILD.branch}, revision={BUILD.revision})"
    _log.info("starting pushgateway", extra={"version": version})
    context = f"(python={BUILD.python}, platform={BUILD.platform}, tags={BUILD.tags})"
    _log.info("Build context", extra={"build_context": context})


def _web_config(file: str) -> LiveConfig:
    try:
        return LiveConfig(Path(file) if file else None)
    except StartupError as error:
        raise StartupError(f"--web.config.file={file}: {error}") from error


def _bounds(settings: Settings) -> Bounds:
    return Bounds(**{name: getattr(settings, f"limit_{name}") for name in Bounds._fields})


def _listeners(settings: Settings) -> list[socket.socket]:
    if settings.web_systemd_socket:
        _log.info("Listening on systemd activated listeners instead of port listeners.")
        return sockets.from_systemd(os.environ)
    return sockets.listen(settings.web_listen_address)
