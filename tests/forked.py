"""Processes forked from one that has imported our server: that is most of what a start costs.

A forked server differs from the command only before and after `serve` runs;
tests/integration/test_process.py starts the command itself, and looks how it ends.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import IO

_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.preloaded"])


def status_of(function: Callable[..., object], *arguments: object) -> int | None:
    """Run *function*, of a module that needs no pytest, in a process; return how that ended."""
    process = _CONTEXT.Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


class Forked:
    """The process of a server, with what the tests use of subprocess.Popen.

    Each of *first* is called before it serves: a function of a module that needs no pytest.
    """

    def __init__(
        self,
        flags: Sequence[str],
        output: IO[bytes],
        environment: Mapping[str, str],
        *first: Callable[[], object],
    ) -> None:
        arguments = (flags, output.name, dict(environment), Path.cwd(), *first)
        self._process = _CONTEXT.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("pushgate serve", timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it may have ended, and not have been told yet
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _serve(
    flags: Sequence[str],
    log: str,
    environment: Mapping[str, str],
    folder: Path,
    *first: Callable[[], object],
) -> None:
    from pushgate.cli import pushgateway

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    os.close(output)
    for function in first:
        function()
    sys.exit(pushgateway.main(flags, "pushgate serve"))
