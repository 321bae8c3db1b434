"""What happens when a program ends, on real processes and real signals."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from pushgate import (
    ConfigurationError,
    PushGateway,
)
from tests.client.rogue import rogue

FORKING = """
import os, sys
from prometheus_client import CollectorRegistry, Gauge
from pushgate import PushGateway
registry = CollectorRegistry()
Gauge("rows", "", registry=registry)
with PushGateway(sys.argv[1], job="j", registry=registry, properties=False) as gateway:
    gateway.push_at_exit()
    gateway.push()
    pusher = gateway.periodic(3600, final="push")
    with pusher:
        child = os.fork()
        if child == 0:
            gateway.push(names=[])
            pusher.__exit__(None, None, None)
            sys.exit(0)
        os.waitpid(child, 0)
        gateway.push()
"""


def ran(program, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_forked_child_has_a_connection_of_its_own_and_no_hooks():
    with rogue() as server:
        assert ran(FORKING, server.url).returncode == 0
    sizes = [len(request.body) > 0 for request in server.seen]
    # Parent, child (of nothing), parent, last push of the periodic one, exit of the parent.
    assert sizes == [True, False, True, True, True]


def test_a_program_under_nohup_survives_the_end_of_its_terminal():
    program = (
        "import os, signal\n"
        "from pushgate import PushGateway\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does\n"
        "gateway = PushGateway('localhost:1', job='j', enabled=False, properties=False)\n"
        "gateway.push_at_exit(signals=[signal.SIGHUP])\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('went on')\n"
    )
    assert ran(program).stdout == "went on\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_program_after_its_last_push(number):
    program = (
        "import signal, sys, time\n"
        "from pushgate import Gauge, PushGateway\n"
        "Gauge('rows', '')\n"
        "gateway = PushGateway(sys.argv[1], job='j')\n"
        "gateway.push_at_exit(signals=(signal.SIGTERM, signal.SIGHUP))\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(30)\n"
        "finally:\n    print('finally', flush=True)\n"
    )
    with rogue() as server:
        with subprocess.Popen(
            [sys.executable, "-c", program, server.url], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "ready\n"
            os.kill(process.pid, number)
            assert process.stdout.read() == "finally\n"
        assert process.returncode == 128 + number
    assert [request.method for request in server.seen] == ["PUT"]


@pytest.mark.parametrize(
    ("before", "printed"),
    [
        ("signal.signal(signal.SIGTERM, lambda *_: print('mine', flush=True))", "mine\n"),
        # What Python says of a handler that a C program has set in which it is embedded.
        ("signal.getsignal = lambda _: None", ""),
    ],
    ids=["a function", "one of a C program"],
)
def test_the_handler_that_was_there_before_runs_first_if_it_can(before, printed):
    program = (
        "import os, signal, sys, time\n"
        "from pushgate import Gauge, PushGateway\n"
        f"Gauge('rows', '')\n{before}\n"
        "PushGateway(sys.argv[1], job='j').push_at_exit(signals=[signal.SIGTERM])\n"
        "os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)\n"
    )
    with rogue() as server:
        done = ran(program, server.url)
    assert (done.returncode, done.stdout, len(server.seen)) == (143, printed, 1)


def test_a_dead_gateway_does_not_change_the_exit_of_the_program():
    program = (
        "import sys\nfrom pushgate import AsyncPushGateway, Gauge\n"
        "Gauge('rows', '')\n"
        "AsyncPushGateway('localhost:1', job='j', retry=0).push_at_exit()\nsys.exit(3)"
    )
    done = ran(program)
    assert done.returncode == 3
    assert "The push at exit failed" in done.stderr


def test_a_program_without_metrics_empties_no_group_at_its_exit():
    program = "import sys; from pushgate import *; PushGateway(sys.argv[1]).push_at_exit()"
    with rogue() as server:
        done = ran(program, server.url)
    assert (done.returncode, done.stderr, server.seen) == (0, "", [])


def test_signals_need_the_main_thread():
    caught = []

    def register():
        try:
            PushGateway(job="j", properties=False).push_at_exit(signals=[signal.SIGTERM])
        except ConfigurationError as error:
            caught.append(str(error))

    thread = threading.Thread(target=register)
    thread.start()
    thread.join()
    assert caught == ["Signals can be caught in the main thread only."]
