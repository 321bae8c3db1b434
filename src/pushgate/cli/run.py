"""``pushgate run``: another program as a job."""

import fcntl
import hashlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import click

from pushgate.cli.options import (
    REJECTED,
    TextMetrics,
    exit_status,
    failures_reported,
    gateway_of,
    gateway_options,
    report,
)
from pushgate.client import PushGateway
from pushgate.client.job import Job
from pushgate.errors import EncodingError, PushgatewayError

_FORWARDED = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# A terminal sends these to the whole process group, so the command has them already.
_FROM_TERMINAL = {signal.SIGINT, signal.SIGQUIT}
# What a shell says when it cannot start a command, and sysexits' "try again later".
_NOT_FOUND, _NOT_EXECUTABLE, _LOCKED = 127, 126, 75
# How long a sign of life may take; the end of the job waits for one that is under way.
_SIGN_SECONDS = 10.0


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@gateway_options
@click.option("--metrics-file", type=click.Path(), help="Where the command writes metrics."
              "  [default: a temporary file; $PUSHGATE_METRICS_FILE names it]")  # fmt: skip
@click.option("--every", type=float, metavar="SECONDS", help="Push a sign of life so often.")
@click.option("--lock", is_flag=True, help="Do nothing (status 75) while the same job runs.")
@click.option("--strict", is_flag=True, help="Fail if the push fails although COMMAND did not.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    command: tuple[str, ...],
    metrics_file: str | None,
    every: float | None,
    *,
    lock: bool,
    strict: bool,
    **options: Any,
) -> None:
    """Run COMMAND and push how it went: start, end, duration, success, exit code, resources.

    Its exit status becomes ours (128 + n after signal n), whatever happens to the push,
    unless --strict. Signals are passed on to it. Metrics in the text format that it
    writes to the file $PUSHGATE_METRICS_FILE are pushed, too.
    """
    with failures_reported():
        gateway = gateway_of(options, default_job=Path(command[0]).stem)
    with _locked(gateway.url) if lock else nullcontext(), _file(metrics_file) as path:
        failures: list[Exception] = []
        job = Job(gateway, (), "batch_job_", failures.append, push_start=False)
        job.__enter__()
        with _signs_of_life(job, gateway, every):
            status = _run(command, {**os.environ, "PUSHGATE_METRICS_FILE": str(path)}, job)
        try:
            job.include(*_metrics_in(path, gateway))
        except (OSError, EncodingError) as error:
            failures.append(error)
        job.__exit__(None, SystemExit(status), None)
    for failure in failures:
        report(failure)
    if strict and failures and status == 0:
        status = _status_of(failures[-1])
    sys.exit(status)


def _status_of(failure: Exception) -> int:
    return exit_status(failure) if isinstance(failure, PushgatewayError) else REJECTED


def _run(command: tuple[str, ...], environment: dict[str, str], job: Job) -> int:
    """Run *command* to its end, and return its exit status as a shell would give it."""
    try:
        process = subprocess.Popen(command, env=environment)  # noqa: S603  that is the point
    except OSError as error:
        report(error)
        return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
    with _forwarding(process):
        _, waited, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(waited)
    _add_usage(job, usage)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _add_usage(job: Job, usage: resource.struct_rusage) -> None:
    kibibytes = 1 if sys.platform == "darwin" else 1024
    for name, text, value in (
        ("max_rss_bytes", "Largest resident memory of the job.", usage.ru_maxrss * kibibytes),
        ("cpu_user_seconds", "CPU time of the job in user mode.", usage.ru_utime),
        ("cpu_system_seconds", "CPU time of the job in the kernel.", usage.ru_stime),
    ):
        job.gauge(f"batch_job_{name}", text).set(value)


@contextmanager
def _forwarding(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass signals on to *process* inside the block."""
    has_terminal = sys.stdin.isatty() or sys.stderr.isatty()

    def forward(number: int, frame: object) -> None:  # noqa: ARG001  a handler's signature
        if not (has_terminal and number in _FROM_TERMINAL):
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _signs_of_life(job: Job, gateway: PushGateway, every: float | None) -> Iterator[None]:
    """Push the time at once and every so many seconds inside the block, and wait for none.

    Failures are reported and change nothing.
    """
    if every is None:
        yield
        return
    ended = threading.Event()
    alive = job.gauge("batch_job_last_alive_timestamp_seconds", "When the job was last seen.")
    brief = gateway.replace(retry=0, deadline=min(every, _SIGN_SECONDS))

    def push() -> None:
        while not ended.is_set():
            alive.set(time.time())
            try:
                brief.push_add(job.registry)
            except Exception as error:  # noqa: BLE001  the job goes on
                report(error)
            ended.wait(every)

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _file(path: str | None) -> Iterator[Path]:
    if path is not None:
        Path(path).unlink(missing_ok=True)  # what an earlier run wrote
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="pushgate-") as folder:
        yield Path(folder) / "metrics.prom"


def _metrics_in(path: Path, gateway: PushGateway) -> list[TextMetrics]:
    """Return the metrics the command wrote, if any, or raise why they cannot be pushed."""
    if not path.exists():
        return []
    metrics = TextMetrics(path.read_bytes())
    gateway.render(metrics)
    return [metrics]


@contextmanager
def _locked(url: str) -> Iterator[None]:
    """Hold the lock of the group at *url*, or end the program if another run has it."""
    name = hashlib.sha256(f"{os.getuid()} {url}".encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"pushgate-{name}.lock"
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            click.echo(f"pushgate: another run for {url} has not ended", err=True)
            sys.exit(_LOCKED)
        yield


def _opened(path: Path) -> IO[str]:
    # Not through a link, which another user could have put there.
    return open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w")  # noqa: PTH123
