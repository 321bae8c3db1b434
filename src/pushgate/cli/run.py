"""``pushgate run``: runs a program and pushes how it went.

Whatever fails here, the command runs, and its exit status is that of the wrapper. The
command starts first; a thread imports and configures the client meanwhile.
"""

import fcntl
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from typing import IO, TYPE_CHECKING

import click

from pushgate.cli import process
from pushgate.cli.job_push import JobPusher, JobRecord
from pushgate.cli.messages import exit_status, say
from pushgate.cli.options import Connection, Duration, FileBody, GroupKey, option, switch, takes
from pushgate.errors import PushgatewayError

if TYPE_CHECKING:
    from pushgate.client.gateway import PushGateway

# The statuses of a shell that cannot start a command, and EX_TEMPFAIL of sysexits.h.
_NOT_FOUND, _NOT_EXECUTABLE, _LOCKED = 127, 126, 75
# Seconds for the push: a job should not hang for long because its gateway does.
_DEFAULT_TIMEOUT = 5.0
_METRICS_FILE = "PUSHGATE_METRICS_FILE"
_needs_shell = re.compile(r"[\s;&|<>$`]").search


def _prefix(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", value, re.ASCII):
        raise click.BadParameter(f"no metric can begin with {value!r}", context, parameter)
    return value


@dataclass(kw_only=True, eq=False, repr=False)
class JobOptions:
    """How the command runs, and what is recorded about it."""

    metrics_file: str | None = option(
        "--metrics-file",
        type=click.Path(),
        help="Where the command writes metrics; $PUSHGATE_METRICS_FILE names it."
        "  [default: a temporary file]",
    )
    prefix: str = option(
        "--prefix",
        default="batch_job_",
        callback=_prefix,
        show_default=True,
        help="Prefix of the names of the job metrics.",
    )
    heartbeat: float | None = option(
        "--every", type=Duration(), help="Push a heartbeat this often while COMMAND runs."
    )
    expected_interval: float | None = option(
        "--expect-every",
        type=Duration(),
        help="Push how often the job should run, such as 24h, so that one alert covers all jobs.",
    )
    kill_after: float | None = option(
        "--kill-after",
        type=Duration(),
        help="Send COMMAND a SIGTERM after this time, and a SIGKILL 10 seconds later.",
    )
    quiet_success: bool = switch(
        "--quiet-success", help="Show the output of COMMAND only if it fails."
    )
    lock: bool = switch("--lock", help="Exit with 75 if an earlier run of the job has not ended.")
    strict: bool = switch("--strict", help="Exit with a failure if only the push failed.")


@click.command(context_settings={"allow_interspersed_args": False})
@takes(
    {
        "timeout": "Limit for the push with all its retries.  [default: 5s]",
        "job": "Job of the group.  [default: the name of COMMAND]",
    },
    connection=Connection,
    group=GroupKey,
    body=FileBody,
    job=JobOptions,
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    command: tuple[str, ...],
    connection: Connection,
    group: GroupKey,
    body: FileBody,
    job: JobOptions,
) -> None:
    """Run COMMAND and push how it went.

    The push has its start, end, duration, success, exit code and resources, and the metrics
    that it writes to the file $PUSHGATE_METRICS_FILE in the text format.

    The exit status is that of COMMAND (128 + n after signal n), even if the push fails, unless
    --strict is given. Signals are forwarded to COMMAND.
    """
    path = os.fsencode(command[0]).decode(errors="replace")
    program, _ = os.path.splitext(os.path.basename(path.rstrip("/")))

    # Cached, because --lock needs the URL of the group before the pusher needs the gateway.
    @cache
    def connect() -> "PushGateway":
        import pushgate.client.exchange  # noqa: F401  or the end of the job waits for it
        from pushgate.cli.configuration import gateway_for, tolerant_properties

        return gateway_for(
            connection,
            group,
            compression=body.compression,
            default_job=program,
            default_timeout=_DEFAULT_TIMEOUT,
            properties=tolerant_properties(connection.define, connection.address),
        )

    with ExitStack() as stack:
        if job.lock:
            _lock(connect, program, stack)
        # Before the start: a signal that comes in between must reach the command.
        mask = process.hold_signals()
        file = _metrics_file(job.metrics_file, stack)
        environment = {name: text for name, text in os.environ.items() if name != _METRICS_FILE}
        if file is not None:
            environment[_METRICS_FILE] = file
        output = _held_output(stack) if job.quiet_success else {}
        # The wall clock may be set while the job runs, so the duration has a clock of its own.
        began = time.monotonic()
        record = JobRecord(job.prefix, job.expected_interval, time.time())
        pusher = JobPusher(connect, record)
        try:
            descriptors = {number: held.fileno() for number, held in output.items()}
            child = process.start(command, environment, mask, descriptors)
        except OSError as error:
            pusher.start(every=None)
            ended = _not_started(command, error)
        else:
            pusher.start(every=job.heartbeat)
            ended = process.wait(child, job.kill_after)
        # Before the push, which may take its whole timeout.
        if ended.status != 0:
            _show(output)
        failures = pusher.finish(ended, time.monotonic() - began, file, body)
    if job.strict and failures and ended.status == 0:
        sys.exit(exit_status(failures[-1]))
    if ended.interrupted:
        process.die_of_interrupt()
    sys.exit(ended.status)


def _not_started(command: tuple[str, ...], error: OSError) -> process.Ended:
    """Say why *command* cannot be started; return the end that a shell would give it."""
    say(f"{command[0]}: {error.strerror}")
    if isinstance(error, FileNotFoundError) and len(command) == 1 and _needs_shell(command[0]):
        # Inside of single quotes a shell knows no escapes: they are closed for a quote.
        quoted = command[0].replace("'", "'\\''")
        say(f"for a command line, start a shell: pushgate run -- sh -c '{quoted}'")
    is_absent = isinstance(error, FileNotFoundError | NotADirectoryError)
    return process.Ended(_NOT_FOUND if is_absent else _NOT_EXECUTABLE)


def _metrics_file(chosen: str | None, stack: ExitStack) -> str | None:
    """Return the file where the command can write metrics, or None after a report why not."""
    try:
        if chosen is None:
            folder = tempfile.TemporaryDirectory(prefix="pushgate-", ignore_cleanup_errors=True)
            return os.path.join(stack.enter_context(folder), "metrics.prom")
        path = os.path.join(os.getcwd(), chosen)  # the command may change its directory
        if os.path.lexists(path):
            if not stat.S_ISREG(os.lstat(path).st_mode):  # such as /dev/null
                say(f"the command runs without a metrics file: {path} is not a regular file")
                return None
            os.unlink(path)  # what an earlier run wrote
    except OSError as error:
        say(f"the command runs without a metrics file: {error.strerror or error}")
        return None
    return path


def _held_output(stack: ExitStack) -> dict[int, IO[bytes]]:
    """Return files to hold stdout (1) and stderr (2) of the command, or none after a report.

    It is one file if both go to the same place here, so that their lines keep their order.
    """
    try:
        out = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        if os.path.sameopenfile(1, 2):
            return {1: out, 2: out}
        return {1: out, 2: stack.enter_context(tempfile.TemporaryFile())}
    except OSError as error:
        say(f"the output is shown at once: {error.strerror or error}")
        return {}


def _show(output: dict[int, IO[bytes]]) -> None:
    """Copy held *output* to where the command would have written it."""
    for number, held in output.items():
        if number == 2 and held is output[1]:
            continue
        held.seek(0)
        # Errors are ignored: a closed pipe must not change the exit status.
        with suppress(OSError), open(number, "wb", closefd=False) as shown:
            shutil.copyfileobj(held, shown)


def _lock(connect: Callable[[], "PushGateway"], program: str, stack: ExitStack) -> None:
    """Hold the lock of the group until *stack* is closed; exit if another run holds it."""
    try:
        url = connect().url
    except PushgatewayError:
        url = program  # the pusher reports the error
    import hashlib

    # With the user, because another one could not open the file; hashed, because URLs have slashes.
    name = hashlib.sha256(f"{os.getuid()} {url}".encode()).hexdigest()[:16]
    try:
        path = os.path.join(tempfile.gettempdir(), f"pushgate-{name}.lock")
        # Not through a link, which another user could have put there.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        stack.callback(os.close, descriptor)
        # The lock ends with this process, however it ends. The file stays: to delete it would let
        # two runs lock two files of one name.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another run for {url} has not ended")
        sys.exit(_LOCKED)
    except OSError as error:
        say(f"the command runs without a lock: {error.strerror or error}")
