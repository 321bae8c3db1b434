"""Names of hosts, looked up in threads that nobody has to wait for."""

import signal
import socket
import threading
from functools import partial

import pytest

from pushgate.client.resolving import addresses_of, is_numeric, start, within


def test_what_a_thread_finds_is_returned():
    assert within(10, lambda: "found") == "found"


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("no IDNA")])
def test_an_error_of_the_resolver_is_an_oserror(error):
    def fail():
        raise error

    with pytest.raises(OSError, match=r"unknown|no IDNA"):
        within(10, fail)


def test_a_resolver_that_hangs_is_left_behind():
    answered = threading.Event()
    with pytest.raises(TimeoutError, match="did not answer in time"):
        within(0.01, partial(answered.wait, 30))
    answered.set()


def test_its_thread_takes_no_signals_and_does_not_keep_the_program():
    masks = []
    thread = start(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, []), masks.append)
    thread.join(10)
    assert thread.daemon
    assert {signal.SIGINT, signal.SIGTERM} <= masks[0]


def test_the_program_takes_signals_as_before_even_if_its_threads_are_greenlets(monkeypatch):
    # As gevent does: the function runs in the thread that starts it.
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.run)
    monkeypatch.setattr(threading.Thread, "join", lambda *_: None)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert within(10, lambda: "found") == "found"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


@pytest.mark.parametrize("step", ["start", "__init__"])  # the latter in subinterpreters
def test_where_no_thread_can_be_started_the_look_up_happens_all_the_same(monkeypatch, step):
    def refuse(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, step, refuse)
    assert within(0.01, lambda: "found") == "found"


def test_an_address_needs_no_resolver():
    assert is_numeric("127.0.0.1")
    assert is_numeric("::1")
    assert not is_numeric("localhost")
    assert addresses_of("127.0.0.1", 9091)[0][4] == ("127.0.0.1", 9091)
