"""What ``pushgate run`` pushes: heartbeats while the command runs, and how it ended."""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pushgate.cli.messages import report
from pushgate.cli.options import FileBody
from pushgate.cli.process import Ended, interruptible
from pushgate.client.outcome import Metric, outcome, started
from pushgate.errors import EncodingError, PushgatewayError, PushRejectedError
from pushgate.model.numbers import go_float

if TYPE_CHECKING:
    from pushgate.cli.metrics_text import MetricsText
    from pushgate.client.gateway import PushGateway
    from pushgate.client.results import Payload

# Limit for a heartbeat: an old one is of no use, and the next one comes soon.
_HEARTBEAT_SECONDS = 10.0
# Limit for importing and configuring the client, once the command has ended.
_READY_SECONDS = 10.0
_LEFT_OUT = "The job is pushed without the metrics file."
_MAX_METRICS_FILE = 64 << 20


class JobRecord(NamedTuple):
    """What is known when a run starts, in seconds; its metrics have names with ``prefix``."""

    prefix: str
    expected_interval: float | None
    started: float

    def running(self, now: float) -> list[Metric]:
        """Return the metrics of a run that is still going at *now*."""
        alive = ("last_alive_timestamp_seconds", "When the job was last seen running.", now)
        return [started(self.started), alive, *self._expected()]

    def over(self, ended: Ended, now: float, duration: float) -> list[Metric]:
        """Return the metrics of a run that has *ended*, after *duration* seconds."""
        return [
            started(self.started),
            *outcome(now, duration, succeeded=ended.status == 0, code=ended.status),
            ("cpu_user_seconds", "CPU time of the job in user mode.", ended.cpu_user),
            ("cpu_system_seconds", "CPU time of the job in the kernel.", ended.cpu_system),
            ("max_rss_bytes", "Largest resident memory of the job.", float(ended.max_rss)),
            *self._expected(),
        ]

    def text(self, metrics: Iterable[Metric]) -> bytes:
        return "".join(
            f"# HELP {self.prefix}{suffix} {documentation}\n"
            f"# TYPE {self.prefix}{suffix} gauge\n"
            f"{self.prefix}{suffix} {go_float(value)}\n"
            for suffix, documentation, value in metrics
        ).encode()

    def _expected(self) -> list[Metric]:
        if self.expected_interval is None:
            return []
        text = "How often the job is expected to run."
        return [("expected_interval_seconds", text, self.expected_interval)]


class JobPusher:
    """Pushes the heartbeats of a run from a thread, and its end.

    The thread imports and configures the client, so that the command does not wait for it.
    """

    def __init__(self, connect: Callable[[], "PushGateway"], record: JobRecord) -> None:
        """Prepare the pushes; :meth:`start` begins them.

        *connect* returns the gateway, or raises an error that says why there is none.
        """
        self._connect = connect
        self._record = record
        self._gateway: PushGateway | None = None
        self._failure: Exception = PushgatewayError("The client was not ready in time.")
        self._is_settled, self._has_ended = threading.Event(), threading.Event()

    def start(self, *, every: float | None) -> None:
        """Configure the client; if *every* is given, push a heartbeat now and that often."""
        thread = threading.Thread(target=self._work, args=(every,), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            self._failure = error
            self._is_settled.set()

    def _work(self, every: float | None) -> None:
        try:
            self._gateway = self._connect()
        except Exception as error:  # noqa: BLE001  the job goes on
            self._failure = error
        finally:
            self._is_settled.set()
        if every is None or self._gateway is None:
            return
        # A gateway of its own, with a connection of its own: the end does not wait for a heartbeat.
        brief = self._gateway.replace(retry=0, deadline=min(every, _HEARTBEAT_SECONDS))
        has_failed = False
        while not self._has_ended.is_set():
            try:
                alive = self._record.running(time.time())
                brief.push_payload(self._payload(alive), add=True)
            except Exception as error:  # noqa: BLE001  the job goes on
                if not has_failed:  # a night without the gateway would fill the mail of cron
                    report(error)
                has_failed = True
            else:
                has_failed = False
            self._has_ended.wait(min(every, threading.TIMEOUT_MAX))

    def finish(
        self, ended: Ended, duration: float, file: str | None, body: FileBody
    ) -> list[Exception]:
        """Push the end of the run and the metrics in *file*; return and report what failed.

        If the file is invalid, the run is pushed without its metrics.
        """
        self._has_ended.set()
        # Before the push, which may take long: these are the times of the command's end.
        own = self._record.over(ended, time.time(), duration)
        failures: list[Exception] = []
        try:
            with interruptible():
                self._push(own, file, body, failures)
        except KeyboardInterrupt:
            failures.append(PushgatewayError("The push was interrupted."))
        except Exception as error:  # noqa: BLE001  no push may change the status of the job
            failures.append(error)
        for failure in failures:
            report(failure)
        return failures

    def _push(
        self, own: list[Metric], file: str | None, body: FileBody, failures: list[Exception]
    ) -> None:
        """Push *own* and the metrics in *file*; why a file is left out is added to *failures*."""
        self._is_settled.wait(_READY_SECONDS)
        gateway = self._gateway
        if gateway is None:
            raise self._failure
        with_file = None
        try:
            if file is not None and (data := _content(file)):
                name = os.path.basename(file)
                text = body.read(data, name, gateway.grouping_key)
                with_file = self._with_file(own, text, name)
        except Exception as error:  # noqa: BLE001  the job itself can be pushed
            error.add_note(_LEFT_OUT)
            failures.append(error)
        if with_file is not None:
            try:
                gateway.push_payload(with_file, add=True)
            except PushRejectedError as error:
                # The job's own metrics are valid: that the run ended must not be lost.
                error.add_note(_LEFT_OUT)
                failures.append(error)
            else:
                return
        gateway.push_payload(self._payload(own), add=True)

    def _payload(self, own: Sequence[Metric], file: "MetricsText | None" = None) -> "Payload":
        from pushgate.client.results import TEXT_TYPE, Payload

        body = self._record.text(own)
        if file is None:
            return Payload(body, TEXT_TYPE, len(own), len(own))
        families, series = len(own) + len(file.types), len(own) + file.series
        # The file comes first, so that the gateway's line numbers are those of the file.
        return Payload(file.body + body, TEXT_TYPE, families, series)

    def _with_file(self, own: Sequence[Metric], text: "MetricsText", source: str) -> "Payload":
        """Return *own* and the metrics of *text*; raise EncodingError if both have one name."""
        twice = {self._record.prefix + suffix for suffix, _, _ in own} & text.types.keys()
        if twice:
            raise EncodingError(
                f"{source}: {min(twice)} is a metric of pushgate run itself;"
                " rename it, or choose another --prefix"
            )
        return self._payload(own, text)


def _content(path: str) -> bytes:
    """Return what the command wrote to *path*, nothing if the file does not exist.

    Raises:
        OSError: It is no regular file, too large, or cannot be read.
    """
    try:
        # A pipe in its place must not block the end of the job.
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            about = os.fstat(file.fileno())
            is_regular = stat.S_ISREG(about.st_mode)
            # The whole file is held in memory, here and by the gateway.
            if is_regular and about.st_size <= _MAX_METRICS_FILE:
                return file.read()
    except FileNotFoundError:
        return b""
    except IsADirectoryError:
        is_regular = False
    except OSError as error:
        raise OSError(f"the metrics file {path} cannot be read: {error.strerror}") from error
    too_large = f"is larger than {_MAX_METRICS_FILE >> 20} MiB"
    raise OSError(f"the metrics file {path} {too_large if is_regular else 'is not a regular file'}")
