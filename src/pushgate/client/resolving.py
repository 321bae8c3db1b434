"""Names of hosts, looked up in threads: a resolver can hang, and has no timeout."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

_Found = TypeVar("_Found")
Addresses: TypeAlias = list[Any]
"""What ``getaddrinfo()`` returns."""


class ResolverTimeoutError(TimeoutError):
    """The resolver did not answer in time."""


def addresses_of(host: str, port: int) -> Addresses:
    """Return the addresses of *host*, which is ASCII, for as long as the resolver takes."""
    # With text, it would import IDNA.
    return socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)


def is_numeric(host: str) -> bool:
    """Return whether *host* is an address, so that no resolver is asked for it."""
    return ":" in host or host.replace(".", "").isdecimal()


def start(
    look_up: Callable[[], _Found], done: Callable[[_Found | OSError], object]
) -> threading.Thread | None:
    """Call *done* with what *look_up* returns, or the error that it raises, from a thread.

    Returns the thread. Where none can be started, *done* is called before this returns None,
    however long the look-up takes.
    """
    import signal  # here, because it takes a millisecond

    # A signal that the system gives to this thread would not interrupt the one that waits. A thread
    # inherits the mask. Set in the thread, it would stay for the program where that is a greenlet.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    # The interpreter is shutting down or has no daemons (a subinterpreter), or no thread is left.
    with suppress(RuntimeError):
        try:
            # A daemon, so that the program can end meanwhile.
            thread = threading.Thread(target=lambda: done(_outcome(look_up)), daemon=True)
            thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return thread
    done(_outcome(look_up))
    return None


def within(seconds: float, look_up: Callable[[], _Found]) -> _Found:
    """Return what *look_up* returns, from a thread; see :func:`start`.

    Raises:
        OSError: What the resolver says; a TimeoutError if it says nothing in time.
    """
    found: list[_Found | OSError] = []
    thread = start(look_up, found.append)
    if thread is not None:
        thread.join(seconds)
    if not found:
        raise TimeoutError("the resolver did not answer in time")
    [outcome] = found
    if isinstance(outcome, OSError):
        raise outcome
    return outcome


def _outcome(look_up: Callable[[], _Found]) -> _Found | OSError:
    try:
        return look_up()
    except OSError as error:
        return error
    except UnicodeError as error:
        return OSError(str(error))
