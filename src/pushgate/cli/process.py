"""A command as a child process: its start, its signals, its end.

Signals for the command are blocked before it starts, and read one by one while it runs. So
none is lost or kills the wrapper, whenever it arrives, and a single loop waits, forwards
and reaps.
"""

import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from errno import ENOENT, ENOEXEC
from typing import Any, NamedTuple, NoReturn

from pushgate.cli.messages import say

# All signals that end a program by default are forwarded, except those that mean a crash of this
# process, and SIGPIPE. Stopping and continuing the command is up to the terminal.
_NOT_FORWARDED = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,
    signal.SIGCONT, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE,
    signal.SIGXFSZ, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
    signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP,
}  # fmt: skip
_FORWARDED = frozenset(signal.valid_signals() - _NOT_FORWARDED)
_WAITED_FOR = _FORWARDED | {signal.SIGCHLD}
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
# SI_KERNEL, the si_code of signals from the kernel: those of our timer, and those of Ctrl-C, which
# the terminal sends to the whole foreground process group, so that the command has had them, too.
_SI_KERNEL = 0x80
# Seconds from SIGTERM to SIGKILL.
_KILL_GRACE = 10.0
# Seconds between two samples of the memory of a small command: at first, and at most.
_FIRST_SAMPLE, _MAX_PAUSE = 0.0005, 10.0
# A timer has no infinite time, and 0 stops it.
_NO_TIME_LIMIT, _AT_ONCE = 86400.0, 0.001


class Ended(NamedTuple):
    """How a command ended.

    ``status`` is that of a shell, 128 + n after signal n, and ``interrupted`` whether it died of
    SIGINT. CPU seconds are those of its children, too. ``max_rss``, the largest resident memory in
    bytes, is NaN if it ended too early to sample.
    """

    status: int
    interrupted: bool = False
    cpu_user: float = 0.0
    cpu_system: float = 0.0
    max_rss: float = math.nan


class Child(NamedTuple):
    """A command that runs.

    Until exec, the command shares the memory of this process, and the kernel keeps the maximum. So
    its final count is right only for commands larger than this process; smaller ones are sampled.

    ``inherited_rss`` is the largest resident memory of this process at its start, in KiB, and
    ``first_rss`` that of the command right after it.
    """

    pid: int
    inherited_rss: int
    first_rss: int


def hold_signals() -> set[signal.Signals | int]:
    """Block the signals that the command should get; return the mask to start it with.

    They stay blocked until this process ends: its status is the command's, whatever is sent
    to it while it pushes.
    """
    # With SIG_IGN, which is inherited, the kernel would reap the command and its status be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR))


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt inside the block, but not one that came before it."""
    while signal.sigtimedwait({signal.SIGINT}, 0) is not None:
        pass  # it was the command's, which has ended
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    mask: set[signal.Signals | int],
    output: Mapping[int, int],
) -> Child:
    """Start *command*, which :func:`wait` must then wait for.

    The program is looked up as a shell does. The signals in *mask* are blocked in it, and *output*
    has file descriptors of it, and what they are in this process.

    Raises:
        OSError: It cannot be started.
    """
    if not command[0]:
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
    options: dict[str, Any] = {
        "file_actions": [(os.POSIX_SPAWN_DUP2, here, there) for there, here in output.items()],
        "setsigmask": mask,
        # Ignored signals stay ignored across exec, and a command's `yes | head` would complain.
        "setsigdef": _IGNORED_BY_PYTHON,
    }
    try:
        pid = os.posix_spawnp(command[0], list(command), environment, **options)
    except OSError as error:
        if error.errno != ENOEXEC:
            raise
        # A script without #!: what execvp does with it, and so nice and env.
        script = shutil.which(command[0]) or command[0]
        shell = ["/bin/sh", script, *command[1:]]
        pid = os.posix_spawn(shell[0], shell, environment, **options)
    # Sampled at once, because the command may end before a second sample. And not taken from this
    # process's rusage, which includes what its own parent had: a shell, a worker, a scheduler.
    first = _high_water_rss(pid)
    return Child(pid, inherited_rss=_high_water_rss(os.getpid()), first_rss=first)


def wait(child: Child, kill_after: float | None = None) -> Ended:
    """Forward signals, which were held since before its start, to *child*; return how it ended.

    After *kill_after* seconds it gets SIGTERM, and SIGKILL ten seconds later.
    """
    pid = child.pid
    began, kills = time.monotonic(), list[tuple[float, signal.Signals]]()
    if kill_after is not None:
        kills = [
            (began + kill_after, signal.SIGTERM),
            (began + kill_after + _KILL_GRACE, signal.SIGKILL),
        ]
    sampled_rss, pause = child.first_rss, _FIRST_SAMPLE
    # WNOWAIT leaves a zombie, so that the pid stays the command's as long as signals go there.
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        sampled_rss = max(sampled_rss, _high_water_rss(pid))
        # Twice as long each time: most commands are short, and long ones cost no wake-ups. Once it
        # is larger than this process, the kernel's count will do.
        is_small = sampled_rss < child.inherited_rss
        pause = min(2 * pause, _MAX_PAUSE) if is_small else _NO_TIME_LIMIT
        if kills:
            pause = min(pause, max(kills[0][0] - time.monotonic(), _AT_ONCE))
        # Not sigtimedwait(): if this process is stopped until the time has passed, as by Ctrl-Z,
        # Python makes a signal of memory that was never written.
        signal.setitimer(signal.ITIMER_REAL, pause)
        arrived = signal.sigwaitinfo(_WAITED_FOR)
        # SIGCHLD and the SIGALRM of the timer only end the pause, so that the loop sees whether
        # the command has ended.
        if arrived.si_signo != signal.SIGCHLD and arrived.si_code != _SI_KERNEL:
            _send(pid, arrived.si_signo)
        if kills and time.monotonic() >= kills[0][0]:
            _send(pid, kills.pop(0)[1])
    _, waited, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(waited)
    rss = usage.ru_maxrss if usage.ru_maxrss > child.inherited_rss else sampled_rss
    return Ended(
        status=code if code >= 0 else 128 - code,
        interrupted=code == -signal.SIGINT,
        cpu_user=usage.ru_utime,
        cpu_system=usage.ru_stime,
        max_rss=rss * 1024 or math.nan,
    )


def die_of_interrupt() -> NoReturn:
    """End this process by SIGINT, not with a status.

    A shell ends a script at Ctrl-C only if the command it waits for has died of it. Otherwise it
    goes on with the next line.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.kill(os.getpid(), signal.SIGINT)
    sys.exit(128 + signal.SIGINT)  # as the first process of a container, which it cannot kill


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except PermissionError:  # it runs as another user, as under sudo
        say(f"signal {number} cannot be sent to the command: it is another user's")


def _high_water_rss(pid: int) -> int:
    """Return the largest resident memory of *pid* so far in KiB; 0 if it cannot be read."""
    with suppress(OSError), open(f"/proc/{pid}/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1])
    return 0
