"""What only the blocking gateway does: threads, forks, kept connections."""

import multiprocessing
import pickle
import subprocess
import sys
import threading

import httpx2
import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from pushgate import (
    PushGateway,
    PushgatewayError,
    PushRejectedError,
)
from tests.client.rogue import answer, answer_when_released, read_request, rogue, stall


def keep_alive(connection, gateway):
    for _ in range(3):
        read_request(connection, gateway)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_a_connection_is_kept_inside_with():
    def refuse(connection, gateway):
        raise AssertionError("a second connection")

    with (
        rogue(keep_alive, refuse) as server,
        PushGateway(server.url, registry=CollectorRegistry(), retry=0, properties=False) as gateway,
    ):
        for _ in range(3):
            gateway.push()
    assert len(server.seen) == 3


def test_leaving_the_block_does_not_cut_off_the_push_of_another_thread(registry):
    results = []
    with rogue(answer_when_released) as server:
        gateway = PushGateway(server.url, registry=registry, retry=0, properties=False)
        thread = threading.Thread(target=lambda: results.append(gateway.push()))
        thread.start()
        server.asked.wait()
        with gateway:
            pass
        server.released.set()
        thread.join()
    assert [result.status for result in results] == [200]


@pytest.mark.timeout(20)
def test_a_collector_that_pushes_to_its_own_gateway_is_told_so_at_once():
    class Pushing:
        def collect(self):
            gateway.push()
            return []

    with rogue() as server:
        gateway = PushGateway(
            server.url, job="j", registry=Pushing(), deadline=None, properties=False
        )
        with pytest.raises(PushgatewayError, match="this thread is using the same gateway"):
            gateway.push()
        assert gateway.push([]).status == 200
    assert len(server.seen) == 1


def test_threads_push_one_after_the_other(registry):
    with rogue() as server:
        gateway = PushGateway(server.url, job="j", registry=registry, properties=False)
        threads = [threading.Thread(target=gateway.push) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.seen) == 8


def test_a_transport_of_the_user_is_used(registry):
    def play(request):
        return httpx2.Response(400, text=f"{request.method} says no")

    gateway = PushGateway(
        "h:1", job="j", registry=registry, transport=httpx2.MockTransport(play), properties=False
    )
    with pytest.raises(PushRejectedError, match="PUT says no"):
        gateway.push()


def test_a_client_of_the_user_is_used_and_not_closed(registry):
    with rogue() as server, httpx2.Client(headers={"X-Mine": "yes"}) as client:
        gateway = PushGateway(server.url, registry=registry, http_client=client, properties=False)
        gateway.push()
        gateway.push()
        assert not client.is_closed
    assert server.seen[0].headers["x-mine"] == "yes"


def test_a_child_forked_during_a_push_pushes_without_waiting_for_it():
    program = (
        "import os, sys, threading\n"
        "from pushgate import PushGateway\n"
        "gateway = PushGateway(sys.argv[1], job='j', deadline=20)\n"
        "pushing = threading.Thread(target=gateway.push, daemon=True)\n"
        "pushing.start()\nsys.stdin.readline()\n"
        "child = os.fork()\n"
        "if child == 0:\n    gateway.push()\n    os._exit(0)\n"
        "sys.exit(os.waitpid(child, 0)[1])\n"
    )
    with rogue(stall, answer()) as server:
        command = [sys.executable, "-W", "ignore", "-c", program, server.url]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
            assert server.asked.wait(10)
            process.communicate("fork\n", timeout=15)
        assert process.returncode == 0
    assert len(server.seen) == 2


def test_a_forked_child_closes_its_copy_of_the_connection():
    program = (
        "import os, sys\n"
        "from pushgate import PushGateway\n"
        "with PushGateway(sys.argv[1], job='j', properties=False) as gateway:\n"
        "    gateway.push()\n"
        "    child = os.fork()\n"
        "    if child == 0:\n        os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "    gateway.push()\n"
    )
    with rogue(keep_alive) as server:
        command = [sys.executable, "-X", "dev", "-c", program, server.url]
        done = subprocess.run(command, check=True, timeout=30, capture_output=True, text=True)
    assert "ResourceWarning" not in done.stderr
    assert len(server.seen) == 2


def push_copy(data, results):
    results.put(pickle.loads(data).push().status)


def test_a_gateway_reaches_a_spawned_worker(tmp_path):
    spawned = multiprocessing.get_context("spawn")
    with rogue() as server:
        gateway = PushGateway(
            server.url, job="j", grouping_key={"a": 1}, registry=REGISTRY, properties=False
        )
        results = spawned.SimpleQueue()
        worker = spawned.Process(target=push_copy, args=(pickle.dumps(gateway), results))
        worker.start()
        assert results.get() == 200
        worker.join()
    assert server.seen[0].path == "/metrics/job/j/a/1"
