"""Runs the server as a process: listeners, signals, start and exit."""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from types import FrameType

import uvloop

from pushgate.errors import StartupError
from pushgate.formats.protobuf.messages import message_class
from pushgate.model.duration import format_duration
from pushgate.model.quoting import is_utf8
from pushgate.server import freeing, logs, sockets
from pushgate.server.access.tls import caveats
from pushgate.server.app import App
from pushgate.server.compose import compose, lock_persistence
from pushgate.server.http.server import HttpServer
from pushgate.server.settings import Settings
from pushgate.server.storage.lock import FileLock
from pushgate.server.systemd import Notifier
from pushgate.server.version import BUILD

_log = logging.getLogger(__name__)

# How long an exposition that nobody scrapes is kept.
_UNUSED_SECONDS = 300
# The journal's thread needs the interpreter lock for a moment after each sync. Python's
# default would let it wait five milliseconds, and every push of the batch with it.
_SWITCH_SECONDS = 0.0005
# All threads wait for a collection, so each may only walk few objects. Nearly nothing here is
# cyclic, and a full one would walk all groups: it is rare, once in half a day at most.
_GC_THRESHOLDS = (4_000, 2, 1_000_000)
_YOUNG_SECONDS = 0.05
# How long after its timeout a stop may still take before the process is ended anyway.
_LAST_RESORT_SECONDS = 5.0


def serve(settings: Settings) -> int:
    """Run the server until it is asked to stop; return the exit status.

    A failure to start or to go on is one line on stderr that says what to do, and status 1.
    """
    logs.configure(settings.log_level, settings.log_format)
    sys.setswitchinterval(_SWITCH_SECONDS)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # connections are files
    gc.set_threshold(*_GC_THRESHOLDS)
    freeing.start()
    stop = _Stop(settings.web_shutdown_timeout / 1e9)
    try:
        with stop.on_signals(), ExitStack() as opened:
            _log_start()
            _check_encoding(settings)
            _check_time_zone()
            notifier = Notifier(os.environ)
            opened.callback(notifier.close)
            # Before listening: the server whose file this one waits for still has the address, too.
            lock = lock_persistence(settings)
            # Connections may wait until everything is loaded, but not on a port that is shared:
            # there, other processes could serve them.
            listeners = [] if settings.web_reuse_port else _listen(settings, opened)
            server = _composed(settings, lock, stop)
            listeners = listeners or _listen(settings, opened)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_Process(server, stop, notifier).run(listeners))
    except StartupError as error:
        line = " ".join(part.strip() for part in str(error).splitlines())
        sys.stderr.write(f"pushgate: {line}\n")
        return 1
    _log.info("HTTP server stopped")
    return 0


class _Stop:
    """The request to stop: by a signal at any time, or over HTTP."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        """How long requests in progress may take after it."""
        self.requested = asyncio.Event()
        self.at_once = asyncio.Event()
        """Set by a second signal: the stop no longer waits for anything."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def on_signals(self) -> ExitStack:
        """Stop on SIGTERM and SIGINT, before there is an event loop as well as in one.

        A process that is the first of a container does not end on SIGTERM by itself.
        """
        restored = ExitStack()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
        for number in (signal.SIGTERM, signal.SIGINT):
            # After the server has ended, another signal must not change the exit status.
            restored.callback(signal.signal, number, signal.SIG_IGN)
            signal.signal(number, self._signaled)
        return restored

    def in_loop(self) -> None:
        """Let signals set :attr:`requested` from now on; call it in the event loop."""
        self._loop = asyncio.get_running_loop()

    def quit(self) -> None:
        """Stop, because a request asked for it."""
        text = "received termination request via web service, exiting gracefully..."
        self._request(logging.WARNING, text)

    def _signaled(self, _number: int, _frame: FrameType | None) -> None:
        """Take a signal. This may run between any two instructions of the main thread."""
        text = "received SIGINT/SIGTERM; exiting gracefully..."
        if self._loop is None:
            _log.info(text)
            raise SystemExit(0)
        self._loop.call_soon_threadsafe(self._request, logging.INFO, text)
        # The event loop may be stuck. What was acknowledged is on disk, so nothing is lost.
        last_resort = threading.Timer(self.seconds + _LAST_RESORT_SECONDS, os._exit, (1,))
        last_resort.daemon = True
        last_resort.start()

    def _request(self, level: int, message: str) -> None:
        if self.requested.is_set():
            self.at_once.set()
            return
        _log.log(level, message)
        self.requested.set()


class _Process:
    """The part of the process that runs in the event loop."""

    def __init__(self, app: App, stop: _Stop, notifier: Notifier) -> None:
        self._app = app
        self._context = app.context
        self._stop = stop
        self._notifier = notifier

    async def run(self, listeners: list[socket.socket]) -> None:
        """Serve on *listeners* until a stop is requested.

        Raises:
            StartupError: the store is broken, so a server has to start anew.
        """
        context = self._context
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        self._stop.in_loop()  # until here, a signal ends the process at once
        context.gateway.start()
        stop = asyncio.create_task(self._stop.requested.wait())
        # What became due while the server was down may be a lot: a stop does not wait for it.
        settling = asyncio.create_task(context.expiry.settle_all())
        await asyncio.wait((settling, stop), return_when=asyncio.FIRST_COMPLETED)
        server = HttpServer(self._app, context)
        await server.start(listeners)
        for listener in listeners:
            address = sockets.address_text(listener)
            _log.info("Listening on", extra={"address": address})
            secured = "disabled" if context.live.context is None else "enabled"
            _log.info(f"TLS is {secured}.", extra={"http2": "false", "address": address})
        self._log_config()
        self._notifier.send("READY=1")
        tasks = [
            asyncio.create_task(self._do_chores()),
            asyncio.create_task(context.live.watch(self._report_config)),
            asyncio.create_task(context.live_rules.watch(self._report_rules)),
            asyncio.create_task(self._keep_alive()),
            asyncio.create_task(collect_young()),
        ]
        blocks = (block for group in context.gateway.store.groups() for block in group.blocks)
        if context.gateway.is_shared or any(block.pushed.details for block in blocks):
            # The first page that shows details would hold up the event loop with the import.
            tasks.append(asyncio.create_task(asyncio.to_thread(message_class, "Metric")))
        broken = asyncio.create_task(context.gateway.broken())
        await asyncio.wait((broken, stop), return_when=asyncio.FIRST_COMPLETED)
        self._notifier.send("STOPPING=1")
        # The journal closes last, because pushes under way are answered once they are in it.
        await server.stop(self._stop.seconds, self._stop.at_once)
        await context.gateway.close()
        for task in (*tasks, settling, stop):
            task.cancel()
        if broken.done():
            raise StartupError(f"the server stopped because {broken.result().cause}")
        broken.cancel()

    async def _do_chores(self) -> None:
        context = self._context
        while True:
            context.expositions.forget_unused(time.monotonic() - _UNUSED_SECONDS)
            context.gateway.probe()
            context.expiry.tick()
            await asyncio.sleep(1)

    def _reload(self) -> None:
        """Read the configuration files again, as SIGHUP demands."""
        followed = (self._context.live, self._context.live_rules)
        if not any(live.files for live in followed):
            _log.info("nothing to reload: there is neither a web configuration nor a rules file")
        for live in followed:
            live.request_reload()

    async def _keep_alive(self) -> None:
        """Tell systemd's watchdog that the event loop runs."""
        while self._notifier.watchdog_seconds:
            self._notifier.send("WATCHDOG=1")
            await asyncio.sleep(self._notifier.watchdog_seconds)

    def _report_config(self) -> None:
        """Log what became of a changed web configuration."""
        if error := self._context.live.error:
            _log.error("Unable to parse configuration", extra={"err": str(error)})
        else:
            _log.info("web configuration reloaded")
            self._log_config()

    def _report_rules(self) -> None:
        """Hand changed rules to the gateway, or log why they are not in force."""
        live = self._context.live_rules
        if live.error:
            said = {"file": str(live.files[0]), "err": str(live.error)}
            _log.error("the rules file is invalid; the last valid rules stay in force", extra=said)
        else:
            _log.info("rules reloaded", extra={"rules": len(live.rules.rules)})
            self._context.gateway.govern(live.rules)

    def _log_config(self) -> None:
        """Log what operators should know of the web configuration."""
        config = self._context.live.config
        if config.rate_limit:
            interval = format_duration(config.rate_limit.interval)
            burst = config.rate_limit.burst
            _log.info("Rate Limiter is enabled.", extra={"burst": burst, "interval": interval})
        for caveat in caveats(config.tls) if config.tls else ():
            _log.warning(caveat)


async def collect_young() -> None:
    """Collect the garbage among new objects again and again, so that there are few of these.

    By itself, Python does so when 4,000 more objects have come than gone. As long as pushes replace
    what is stored, that never happens, and then one collection walks all of it: 0.3 seconds for
    500,000 series with label values of their own.
    """
    while True:
        gc.collect(1)
        await asyncio.sleep(_YOUNG_SECONDS)


def _composed(settings: Settings, lock: FileLock | None, stop: _Stop) -> App:
    """Return the server with what it loads. That stays: no collection ever walks it."""
    gc.collect()
    gc.disable()
    try:
        return compose(settings, lock=lock, quit=stop.quit)
    finally:
        gc.freeze()
        gc.enable()


def _log_start() -> None:
    version = f"(version={BUILD.version}, branch={BUILD.branch}, revision={BUILD.revision})"
    _log.info("starting pushgateway", extra={"version": version})
    context = f"(python={BUILD.python}, platform={BUILD.platform}, tags={BUILD.tags})"
    _log.info("Build context", extra={"build_context": context})


def _check_encoding(settings: Settings) -> None:
    """Refuse flags that are not UTF-8: neither pages nor SQLite could handle them."""
    for flag, value in settings.rows().items():
        if not is_utf8(value):
            raise StartupError(f"--{flag}={value!a}: the value is not UTF-8; use another name")


def _check_time_zone() -> None:
    try:
        datetime.now(UTC).astimezone()
    except (OverflowError, ValueError):
        zone = os.environ.get("TZ", "")
        raise StartupError(
            f"TZ={zone}: not a time zone; use a name such as Europe/Berlin, or UTC"
        ) from None


def _listen(settings: Settings, opened: ExitStack) -> list[socket.socket]:
    """Return the listeners that *settings* ask for; closing *opened* closes them."""
    if settings.web_systemd_socket:
        if settings.web_reuse_port:
            raise StartupError(
                "--web.reuse-port has no effect on systemd's sockets; leave it out, and set "
                "ReusePort=yes in the socket unit"
            )
        _log.info("Listening on systemd activated listeners instead of port listeners.")
        listeners = sockets.from_systemd(os.environ)
    else:
        if settings.web_reuse_port and not settings.persistence_url:
            _log.warning(
                "other processes on the same ports do not share the metrics of this one; name a "
                "database with --persistence.url"
            )
        listeners = sockets.listen(
            settings.web_listen_address, shares_ports=settings.web_reuse_port
        )
    for listener in listeners:
        opened.callback(listener.close)
    return listeners
