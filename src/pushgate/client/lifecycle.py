"""The last push of a program: exit hooks and signal handlers."""

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, NoReturn

from pushgate.errors import ConfigurationError
from pushgate.log import log


def at_exit(push: Callable[[], object], signals: Iterable[signal.Signals]) -> None:
    """Call *push*, whose errors are logged, when this process exits, but not in forked children.

    *signals* are to end the program in an orderly way, see :func:`end_on`.

    Raises:
        ConfigurationError: Signals are given, but this is not the main thread.
    """
    owner = os.getpid()

    def last_push() -> None:
        if os.getpid() != owner:
            return  # a forked worker would overwrite the group of its parent
        try:
            push()
        except Exception as error:  # noqa: BLE001  nobody is left who could catch it
            log("error", "The push at exit failed: %s", error)

    # Signals first: if they cannot be caught, the push is not registered either.
    for number in signals:
        end_on(number)
    atexit.register(last_push)


def end_on(number: signal.Signals) -> None:
    """Make signal *number* raise SystemExit(128 + number) in the main thread.

    When the signal arrives, the previous handler is restored, and runs first. A signal that is
    ignored stays ignored: whoever started the program with nohup wants it to go on.

    Raises:
        ConfigurationError: This is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError("Signals can be caught in the main thread only.", key="signals")
    # A function, or SIG_DFL or SIG_IGN, which cannot be called.
    # None is a handler of the C program that Python is embedded in, which cannot be set again.
    before: Any = signal.getsignal(number) or signal.SIG_DFL
    if before is signal.SIG_IGN:
        return

    def end(received: int, frame: FrameType | None) -> NoReturn:
        # A second signal has its old effect, so that a program that hangs in its exit can be ended.
        signal.signal(number, before)
        # default_int_handler would raise KeyboardInterrupt in place of the SystemExit.
        if callable(before) and before is not signal.default_int_handler:
            before(received, frame)
        raise SystemExit(128 + received)  # as a shell shows an end by a signal

    signal.signal(number, end)
