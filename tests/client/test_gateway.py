"""What a push is, held against both gateways on a real socket."""

import asyncio
import gzip
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading

import cramjam
import httpx2
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Gauge

from pushgate import (
    AsyncPushGateway,
    ConfigurationError,
    EncodingError,
    PushGateway,
    PushgatewayError,
    PushRejectedError,
    PushTimeoutError,
)
from tests.client.metrics_proto import decode
from tests.client.rogue import answer, answer_when_released, read_request, rogue, stall

PROTOBUF = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)


@pytest.mark.parametrize(("method", "verb"), [("push", "PUT"), ("push_add", "POST")])
def test_a_push_is_one_request(caller, registry, method, verb):
    with rogue(answer(202)) as server:
        gateway = caller.make(server.url, job="j", grouping_key={"l.1": "a b"}, registry=registry)
        result = caller.call(gateway, method)
    [request] = server.seen
    assert (request.method, request.path) == (verb, "/metrics/job/j/U__l_2e_1/a%20b")
    assert request.headers["content-type"] == PROTOBUF
    assert request.headers["content-length"] == str(len(request.body))
    assert "transfer-encoding" not in request.headers
    assert request.headers["user-agent"].startswith("pushgate/")
    assert [family.name for family in decode(request.body)] == ["rows"]
    assert (result.status, result.attempts, result.families, result.samples) == (202, 1, 1, 1)
    assert (result.bytes_sent, result.format) == (len(request.body), "protobuf")
    assert result.url == f"{server.url}/metrics/job/j/U__l_2e_1/a%20b"


def test_delete_sends_no_body(caller, registry):
    with rogue(answer(202)) as server:
        gateway = caller.make(server.url, job="j", registry=registry, compression="gzip")
        assert caller.call(gateway, "delete").status == 202
    [request] = server.seen
    assert (request.method, request.body) == ("DELETE", b"")
    assert "content-encoding" not in request.headers


def test_only_the_given_collectors(caller, registry):
    one, two = (Gauge(name, "", registry=None) for name in ("one", "two"))
    with rogue() as server:
        gateway = caller.make(server.url, job="j", registry=registry)
        caller.call(gateway, "push", one)
        caller.call(gateway, "push", [one, two])
    assert [[f.name for f in decode(r.body)] for r in server.seen] == [["one"], ["one", "two"]]


@pytest.mark.parametrize(
    ("compression", "inflate"),
    [("gzip", gzip.decompress), ("snappy", lambda body: bytes(cramjam.snappy.decompress(body)))],
)
def test_large_bodies_are_compressed(caller, registry, compression, inflate):
    many = Gauge("many", "", ["l"], registry=registry)
    for index in range(100):
        many.labels(str(index)).set(index)
    with rogue() as server:
        gateway = caller.make(server.url, job="j", registry=registry, compression=compression)
        caller.call(gateway, "push")
        caller.call(gateway, "push", names=["rows"])
        plain = gateway.render().body
    large, small = server.seen
    assert large.headers["content-encoding"] == compression
    assert inflate(large.body) == plain
    assert "content-encoding" not in small.headers


def test_the_default_registry_goes_without_metrics_of_the_process():
    gauge = Gauge("only_this_one", "")
    try:
        gateway = PushGateway(job="j", properties=False)
        names = {family.name for family in decode(gateway.render().body)}
        every = gateway.replace(include_default_collectors=True).render()
    finally:
        REGISTRY.unregister(gauge)
    assert "only_this_one" in names
    assert not any(name.startswith(("python_", "process_")) for name in names)
    assert every.families > len(names)


@pytest.mark.parametrize(("on_empty", "requests"), [("warn", 1), ("skip", 0)])
def test_an_empty_registry(caller, caplog, on_empty, requests):
    with rogue() as server:
        gateway = caller.make(server.url, registry=CollectorRegistry(), on_empty=on_empty)
        result = caller.call(gateway, "push")
    assert len(server.seen) == requests
    assert result.status == (200 if requests else 0)
    assert ("empties the group" in caplog.text) is bool(requests)


def test_an_empty_registry_can_be_an_error(caller):
    gateway = caller.make("h:1", registry=CollectorRegistry(), on_empty="error")
    with pytest.raises(EncodingError, match="nothing to push"):
        caller.call(gateway, "push")


def test_pushing_can_be_switched_off(caller, registry, caplog):
    caplog.set_level(logging.INFO, "pushgate.client")
    gateway = caller.make(
        "no-such-host.invalid", registry=registry, properties={"pushgate.enabled": "false"}
    )
    assert caller.call(gateway, "push").status == 0
    assert caller.call(gateway, "delete").status == 0
    assert caplog.text.count("is not sent: pushgate.enabled is false") == 2


def test_replace_changes_one_option_and_keeps_the_others(caller, registry):
    gateway = caller.make("h:1", job="a", grouping_key={"x": 1}, registry=registry)
    assert gateway.replace(job="b").url == "http://h:1/metrics/job/b/x/1"
    assert gateway.url == "http://h:1/metrics/job/a/x/1"
    assert type(gateway.replace()) is type(gateway)
    with pytest.raises(TypeError, match="no such option: jobb"):
        gateway.replace(jobb="b")


def test_options_are_copied(caller):
    key, headers = {"a": "1"}, {"X-A": "1"}
    with rogue() as server:
        gateway = caller.make(server.url, job="j", grouping_key=key, headers=headers)
        key["b"], headers["X-B"] = "2", "2"
        caller.call(gateway.replace(), "delete")
    assert server.seen[0].path == "/metrics/job/j/a/1"
    assert "x-b" not in server.seen[0].headers


def test_headers_may_be_functions(caller):
    numbers = iter("12")
    with rogue() as server:
        gateway = caller.make(server.url, headers={"X-Tenant": "t", "X-N": lambda: next(numbers)})
        caller.call(gateway, "delete")
        caller.call(gateway, "delete")
    assert [r.headers["x-n"] for r in server.seen] == ["1", "2"]
    assert server.seen[0].headers["x-tenant"] == "t"


def test_a_line_break_in_a_header_is_refused(caller):
    gateway = caller.make("h:1", headers={"X-A": "1\r\nX-B: 2"})
    with pytest.raises(ConfigurationError, match="'X-A' contains a line break"):
        caller.call(gateway, "delete")


STATUS = (
    b'{"status":"success","data":{"build_information":{"version":"%s"},"flags":{"a":"b"},'
    b'"start_time":"2026-01-01T00:00:00Z"}}'
)


def test_status_groups_and_readiness(caller):
    groups = (
        b'{"status":"success","data":[{"labels":{"job":"j","a":""},"last_push_successful":true,'
        b'"rows":{"time_stamp":"x","type":"GAUGE","metrics":[]}}]}'
    )
    with rogue(answer(200, STATUS % b"1.11.3"), answer(200, groups), answer(200), answer(503)) as s:
        gateway = caller.make(s.url, retry=0)
        status = caller.call(gateway, "status")
        [group] = caller.call(gateway, "groups")
        assert caller.call(gateway, "ready")
        assert not caller.call(gateway, "ready")
    assert (status.version, status.flags, status.keeps_utf8_names) == ("1.11.3", {"a": "b"}, True)
    assert (group.labels, group.families) == ({"job": "j", "a": ""}, ("rows",))
    paths = ["/api/v1/status", "/api/v1/metrics", "/-/ready", "/-/ready"]
    assert [request.path for request in s.seen] == paths


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": 1}', b'{"data": [{"a": 1}]}'])
@pytest.mark.parametrize("method", ["status", "groups"])
def test_what_is_no_gateway_is_told_from_one(caller, body, method):
    with rogue(answer(200, body)) as server:
        gateway = caller.make(server.url)
        with pytest.raises(PushgatewayError, match="not what a Pushgateway answers"):
            caller.call(gateway, method)


@pytest.mark.parametrize(("version", "pushes"), [(b"1.11.0", 2), (b"1.5.1", 0), (b"", 2)])
def test_utf8_names_need_a_gateway_that_survives_them(caller, caplog, version, pushes):
    gauge = Gauge("http.size", "", registry=None)
    with rogue(answer(200, STATUS % version), answer(200)) as server:
        gateway = caller.make(server.url, job="j", escaping_scheme="allow-utf-8")
        if pushes:
            caller.call(gateway, "push", gauge)
            caller.call(gateway, "push", gauge)
        else:
            with pytest.raises(ConfigurationError, match=r"takes 1\.11\.0"):
                caller.call(gateway, "push", gauge)
    assert [request.method for request in server.seen] == ["GET"] + ["PUT"] * pushes
    assert ("It is unknown" in caplog.text) is (version == b"")


def test_a_connection_is_kept_inside_with():
    def keep_alive(connection, gateway):
        for _ in range(3):
            read_request(connection, gateway)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

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


@pytest.mark.anyio
async def test_leaving_the_block_does_not_cut_off_the_push_of_another_task(registry, anyio_backend):
    with rogue(answer_when_released) as server:
        gateway = AsyncPushGateway(server.url, registry=registry, retry=0, properties=False)
        async with gateway:
            pass
        task = asyncio.create_task(gateway.push())
        await asyncio.to_thread(server.asked.wait)
        async with gateway:
            pass
        server.released.set()
        assert (await task).status == 200


def test_threads_push_one_after_the_other(registry):
    with rogue() as server:
        gateway = PushGateway(server.url, job="j", registry=registry, properties=False)
        threads = [threading.Thread(target=gateway.push) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.seen) == 8


@pytest.mark.anyio
async def test_cancelling_a_push_ends_it(registry, anyio_backend):
    with rogue(stall) as server:
        gateway = AsyncPushGateway(server.url, job="j", registry=registry, properties=False)
        task = asyncio.create_task(gateway.push())
        await asyncio.to_thread(server.asked.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.anyio
async def test_the_connection_serves_again_after_a_cancelled_push(registry, anyio_backend):
    with rogue(stall, answer()) as server:
        async with AsyncPushGateway(server.url, registry=registry, properties=False) as gateway:
            task = asyncio.create_task(gateway.push())
            await asyncio.to_thread(server.asked.wait)
            task.cancel()
            await asyncio.wait([task])
            assert (await gateway.push()).status == 200


@pytest.mark.anyio
async def test_asyncio_waits_for_its_turn_no_longer_than_the_deadline(registry, anyio_backend):
    with rogue(stall) as server:
        gateway = AsyncPushGateway(server.url, job="j", registry=registry, properties=False)
        task = asyncio.create_task(gateway.push())
        await asyncio.to_thread(server.asked.wait)
        with pytest.raises(PushTimeoutError, match="another push"):
            await gateway.push(deadline=0.05)
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.anyio
async def test_a_large_registry_is_encoded_beside_the_event_loop(anyio_backend):
    registry = CollectorRegistry()
    Gauge("big", "x" * (1 << 20), registry=registry)
    with rogue() as server:
        async with AsyncPushGateway(server.url, registry=registry, properties=False) as gateway:
            await gateway.push()
            result = await gateway.push()
    assert result.bytes_sent > 1 << 20


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


@pytest.mark.anyio
async def test_an_async_client_of_the_user_is_used(registry, anyio_backend):
    with rogue() as server:
        async with httpx2.AsyncClient(headers={"X-Mine": "yes"}) as client:
            gateway = AsyncPushGateway(server.url, registry=registry, http_client=client)
            await gateway.push()
    assert server.seen[0].headers["x-mine"] == "yes"


def test_the_wrong_kind_of_transport_is_refused():
    with pytest.raises(ConfigurationError, match="AsyncPushGateway"):
        PushGateway("h:1", transport=httpx2.AsyncHTTPTransport(), properties=False)
    with httpx2.HTTPTransport() as transport:
        with pytest.raises(ConfigurationError, match="for PushGateway"):
            AsyncPushGateway("h:1", transport=transport, properties=False)
        with pytest.raises(ConfigurationError, match="its own TLS"):
            PushGateway("h:1", transport=transport, verify=False, properties=False)


def test_a_proxy_gets_the_whole_url(caller, registry, monkeypatch):
    with rogue() as proxy:
        gateway = caller.make("gateway.invalid:9091", job="j", registry=registry, proxy=proxy.url)
        caller.call(gateway, "push")
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        caller.call(gateway.replace(proxy="env"), "push")
    assert {r.path for r in proxy.seen} == {"http://gateway.invalid:9091/metrics/job/j"}


def test_no_proxy_is_respected(caller, registry, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://no-such-proxy.invalid")
    with rogue() as server:
        monkeypatch.setenv("no_proxy", "localhost")
        caller.call(caller.make(server.url, registry=registry), "push")
        monkeypatch.delenv("no_proxy")
        caller.call(caller.make(server.url, registry=registry, proxy=None), "push")
    assert len(server.seen) == 2


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


def test_a_forked_child_has_a_connection_of_its_own_and_no_hooks():
    with rogue() as server:
        command = [sys.executable, "-W", "ignore", "-c", FORKING, server.url]
        subprocess.run(command, check=True, timeout=30)
    sizes = [len(request.body) > 0 for request in server.seen]
    # Parent, child (of nothing), parent, last push of the periodic one, exit of the parent.
    assert sizes == [True, False, True, True, True]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_program_after_its_last_push(number):
    program = (
        "import signal, sys, time\n"
        "from pushgate import PushGateway\n"
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


def test_the_handler_that_was_there_before_runs_first():
    program = (
        "import os, signal, sys, time\n"
        "from pushgate import PushGateway\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('mine', flush=True))\n"
        "PushGateway(sys.argv[1], job='j').push_at_exit(signals=[signal.SIGTERM])\n"
        "os.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(30)\n"
    )
    with rogue() as server:
        command = [sys.executable, "-c", program, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, len(server.seen)) == (143, "mine\n", 1)


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


def test_a_dead_gateway_does_not_change_the_exit_of_the_program():
    program = (
        "import sys\nfrom pushgate import AsyncPushGateway\n"
        "AsyncPushGateway('localhost:1', job='j', retry=0).push_at_exit()\nsys.exit(3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 3
    assert "The push at exit failed" in done.stderr


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


MULTIPROCESS = """
import os, sys
from prometheus_client import Counter, Gauge
from pushgate import Histogram, PushGateway
counter = Counter("done", "")
size = Histogram("size", "", buckets=[1])
pid_gauge = Gauge("per_process", "")
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        counter.inc(2)
        size.observe(0.5)
        assert (size.count, size.sum) == (1, 0.5)
        pid_gauge.set(1)
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
PushGateway(sys.argv[1], job="j", properties=False).push()
"""


def test_a_missing_multiprocess_directory_is_a_configuration_error(caller, monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))
    with pytest.raises(ConfigurationError, match="a directory that exists"):
        caller.call(caller.make("h:1"), "push")


def test_the_metrics_of_all_processes_are_summed(tmp_path):
    with rogue() as server:
        done = subprocess.run(
            [sys.executable, "-c", MULTIPROCESS, server.url],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    families = {family.name: family for family in decode(server.seen[0].body)}
    assert families["done_total"].metric[0].counter.value == 6
    assert families["size"].metric[0].histogram.sample_count == 3
    assert "classic buckets only" in done.stderr
    assert "Traceback" not in done.stderr
    assert "The gauge per_process has a series per process" in done.stderr


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


def test_a_pickled_gateway_has_the_same_options(caller):
    gateway = caller.make("u:p@h:1", job="j", grouping_key={"a": "b"}, retry=7, format="text")
    again = pickle.loads(pickle.dumps(gateway))
    assert type(again) is type(gateway)
    assert (again.url, again._retry) == (gateway.url, gateway._retry)
    assert again._credentials.header(renew=False) == "Basic dTpw"


def test_a_gateway_with_a_registry_says_why_it_cannot_be_pickled(caller, registry):
    with pytest.raises(TypeError, match="registry= cannot be pickled"):
        pickle.dumps(caller.make("h:1", registry=registry))


def test_a_worker_that_was_killed_leaves_a_file_that_is_named(caller, monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    (tmp_path / "counter_17.db").touch()
    with pytest.raises(EncodingError, match=r"counter_17\.db cannot be read .* delete it"):
        caller.call(caller.make("h:1"), "push")
