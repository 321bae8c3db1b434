import asyncio
import subprocess
import sys

import pytest
from prometheus_client import Gauge

from pushgate import (
    AsyncPushGateway,
    ConfigurationError,
    PushConnectionError,
    PushGateway,
    PushRejectedError,
)
from tests.client.rogue import answer, closed_port, rogue
from tests.client.shared import Odd, values
from tests.metrics_proto import decode


def gateway(server, **options):
    return PushGateway(server.url, job="j", properties=False, retry=0, **options)


DEAD = {"properties": False, "retry": 0, "job": "j"}


def test_a_successful_run_is_one_post():
    extra = Gauge("extra", "", registry=None)
    with rogue() as server, gateway(server).job_run("nightly", include=[extra]) as job:
        job.counter("rows", "Rows", ["table"]).labels("a").inc(2)
        job.histogram("size", "Size").observe(1)
        job.gauge("level", "Level").set(4)
    [request] = server.seen
    assert (request.method, request.path) == ("POST", "/metrics/job/nightly")
    names = {family.name for family in decode(request.body)}
    assert names == {
        "batch_job_duration_seconds",
        "batch_job_last_completion_timestamp_seconds",
        "batch_job_last_start_timestamp_seconds",
        "batch_job_last_success_timestamp_seconds",
        "batch_job_success",
        "extra",
        "level",
        "rows_total",
        "size",
    }
    read = values(request)
    assert read["batch_job_success"] == 1
    assert 1e9 < read["batch_job_last_success_timestamp_seconds"] < 1e10


def test_a_failed_run_leaves_the_last_success_alone():
    with (
        rogue() as server,
        pytest.raises(ZeroDivisionError),
        gateway(server).job_run(prefix="etl_"),
    ):
        raise ZeroDivisionError
    read = values(server.seen[0])
    assert read["etl_success"] == 0
    assert "etl_last_failure_timestamp_seconds" in read
    assert "etl_last_success_timestamp_seconds" not in read


@pytest.mark.parametrize(
    ("code", "success", "exit_code"), [(0, 1, 0), (None, 1, 0), (3, 0, 3), ("no", 0, 1)]
)
def test_an_exit_has_a_code(code, success, exit_code):
    with rogue() as server, pytest.raises(SystemExit), gateway(server).job_run():
        sys.exit(code)
    read = values(server.seen[0])
    assert (read["batch_job_success"], read["batch_job_exit_code"]) == (success, exit_code)


def test_a_start_can_be_pushed_so_that_a_killed_job_is_seen():
    with rogue() as server, gateway(server).job_run(push_start=True):
        assert list(values(server.seen[0])) == ["batch_job_last_start_timestamp_seconds"]
    assert len(server.seen) == 2


def test_the_decorator_makes_a_new_run_of_each_call():
    with rogue() as server:

        @gateway(server).job_run()
        def double(x):
            """Doubles."""
            return 2 * x

        assert [double(1), double(2)] == [2, 4]
    assert len(server.seen) == 2
    assert double.__doc__ == "Doubles."


def test_a_coroutine_function_can_be_decorated_with_either():
    with rogue() as server:

        @gateway(server).job_run()
        async def blocking():
            return 1

        @AsyncPushGateway(server.url, properties=False).job_run("a")
        async def awaited():
            return 2

        async def both():
            return await blocking(), await awaited()

        assert asyncio.run(both()) == (1, 2)
    assert [values(request)["batch_job_success"] for request in server.seen] == [1, 1]


def test_what_has_no_end_is_refused():
    job = PushGateway(**DEAD).job_run()

    def generator():
        yield

    async def async_generator():
        yield

    for function in (generator, async_generator):
        with pytest.raises(TypeError, match="is a generator"):
            job(function)
    with pytest.raises(TypeError, match="print is not a coroutine function"):
        AsyncPushGateway(**DEAD).job_run()(print)


def test_a_dead_gateway_never_changes_the_result(caplog):
    dead = PushGateway(f"localhost:{closed_port()}", **DEAD)

    @dead.job_run(push_start=True)
    def work():
        return "done"

    assert work() == "done"
    assert "The push of the job metrics failed" in caplog.text
    with pytest.raises(KeyError) as caught, dead.job_run(on_push_error="raise"):
        raise KeyError("mine")
    assert any("failed, too" in note for note in caught.value.__notes__)


def test_a_dead_gateway_can_be_made_to_matter():
    dead = PushGateway(f"localhost:{closed_port()}", **DEAD)
    with pytest.raises(PushConnectionError), dead.job_run(on_push_error="raise"):
        pass
    failures = []
    with dead.job_run(on_push_error=failures.append):
        pass
    assert isinstance(failures[0], PushConnectionError)


def test_what_the_function_for_errors_raises_does_not_hide_the_error_of_the_job():
    def fail(_):
        raise OSError("no pager")

    run = PushGateway(f"localhost:{closed_port()}", **DEAD).job_run(on_push_error=fail)
    with pytest.raises(KeyError) as caught, run:
        raise KeyError
    assert "on_push_error failed, too: OSError: no pager" in caught.value.__notes__
    with pytest.raises(OSError, match="no pager"), run:
        pass


def test_a_put_after_a_job_run_is_warned_about(caplog, registry):
    with rogue() as server:
        with gateway(server).job_run():
            pass
        for _ in range(2):
            gateway(server, registry=registry).push()
    assert caplog.text.count("replaces the whole group") == 1


def test_periodic_pushes_and_the_one_at_exit_keep_the_metrics_of_the_job():
    program = (
        "import sys\nfrom pushgate import Gauge, PushGateway\n"
        "Gauge('rows', '')\ngateway = PushGateway(sys.argv[1], job='j')\n"
        "gateway.push_at_exit()\n"
        "with gateway.periodic(3600), gateway.job_run():\n    pass\n"
    )
    with rogue() as server:
        subprocess.run([sys.executable, "-c", program, server.url], timeout=30, check=True)
    # The job's, the last periodic one, and that at the exit. A PUT would replace the whole group.
    assert [request.method for request in server.seen] == ["POST"] * 3


def test_a_terminated_job_is_a_failed_job():
    program = (
        "import os, signal, sys\nfrom pushgate import PushGateway\n"
        "gateway = PushGateway(sys.argv[1], job='j')\n"
        "gateway.push_at_exit(signals=[signal.SIGTERM])\n"
        "with gateway.job_run('t'):\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    import time; time.sleep(30)"
    )
    with rogue() as server:
        done = subprocess.run([sys.executable, "-c", program, server.url], timeout=30, check=False)
    assert done.returncode == 143
    assert values(server.seen[0])["batch_job_exit_code"] == 143


class Sensor:
    def collect(self):
        raise OSError("no such sensor")


@pytest.mark.parametrize("collector", [Sensor(), Odd()])
def test_what_cannot_be_pushed_is_named_and_the_rest_is_pushed(collector, caplog):
    extra = Gauge("extra", "", registry=None)
    with rogue() as server, gateway(server).job_run(include=[collector, extra]) as job:
        job.gauge("rows", "").set(3)
    [request] = server.seen
    read = values(request)
    assert (read["batch_job_success"], read["rows"], read["extra"]) == (1, 3, 0)
    assert ("even" in read) is isinstance(collector, Odd)
    assert "Left out of the push of the job metrics" in caplog.text
    assert "odd_summary" in caplog.text or "Sensor.collect" in caplog.text


def test_a_metric_that_fails_takes_no_other_of_its_registry_with_it(registry, caplog):
    Gauge("sensor", "", registry=registry).set_function(lambda: 1 / 0)
    Gauge("later", "", registry=registry).set(4)
    with rogue() as server, gateway(server).job_run(include=[registry]) as job:
        job.gauge("own_sensor", "").set_function(lambda: 1 / 0)
        job.gauge("own", "").set(5)
    read = values(server.seen[0])
    assert (read["rows"], read["later"], read["own"]) == (3, 4, 5)
    assert "The collector sensor failed: ZeroDivisionError" in caplog.text
    assert "The collector own_sensor failed: ZeroDivisionError" in caplog.text


class Retry(Exception):
    """Stands for Celery's."""


def push_taken_name(gateway):
    """Run a job with a gauge that another group has as a counter."""

    def blocking():
        with gateway.job_run("late") as job:
            job.gauge("rows_total", "Rows").set(3)

    async def nonblocking():
        async with gateway.job_run("late") as job:
            job.gauge("rows_total", "Rows").set(3)

    blocking() if isinstance(gateway, PushGateway) else asyncio.run(nonblocking())


def test_a_metric_that_the_gateway_refuses_does_not_make_the_job_look_late(caller, caplog):
    body = b"pushed metrics are invalid: rows_total has type GAUGE but should have COUNTER"
    with rogue(answer(400, body), answer()) as server:
        push_taken_name(caller.make(server.url, retry=0))
    everything, own = map(values, server.seen)
    assert "rows_total" in everything
    assert own == {name: everything[name] for name in everything if name != "rows_total"}
    assert own["batch_job_success"] == 1
    assert "rows_total has type GAUGE" in caplog.text
    assert "The job is pushed without its other metrics." in caplog.text


def test_a_refused_metric_can_be_made_to_matter():
    with rogue(answer(400, b"no"), answer()) as server:
        made = PushGateway(server.url, job="j", retry=0, properties=False)
        with pytest.raises(PushRejectedError), made.job_run(on_push_error="raise"):
            pass
    assert len(server.seen) == 2


def test_a_metric_with_the_name_of_a_job_metric_is_left_out(caplog):
    with rogue() as server, gateway(server).job_run() as job:
        job.gauge("batch_job_success", "Mine").set(7)
        job.gauge("rows", "Rows").set(3)
    read = values(server.seen[0])
    assert (read["batch_job_success"], read["rows"]) == (1, 3)
    assert "Left out of the push of the job metrics: batch_job_success" in caplog.text


@pytest.mark.parametrize("ignore", [("Retry",), 5, (ZeroDivisionError(),), int])
def test_what_is_to_be_ignored_is_checked_before_the_job_runs(ignore):
    with pytest.raises((ConfigurationError, TypeError)):
        PushGateway(**DEAD).job_run(ignore=ignore)


async def coroutine(_):
    raise AssertionError("nobody would await this")


@pytest.mark.parametrize("reaction", ["Raise", None, ["raise"], coroutine])
def test_an_impossible_reaction_to_errors_is_refused_before_the_job_runs(reaction):
    with pytest.raises(ConfigurationError, match="on_push_error: expecting 'log', 'raise' or a f"):
        PushGateway(**DEAD).job_run(on_push_error=reaction)


def test_a_single_exception_can_be_ignored():
    with (
        rogue() as server,
        pytest.raises(ZeroDivisionError),
        gateway(server).job_run(ignore=ZeroDivisionError),
    ):
        raise ZeroDivisionError
    assert server.seen == []


def test_an_ignored_exception_is_no_outcome():
    with rogue() as server:
        job = gateway(server).job_run("task", push_start=True, ignore=(Retry,))

        @job
        def task(error):
            raise error

        with pytest.raises(Retry):
            task(Retry())
        assert [list(values(r)) for r in server.seen] == [
            ["batch_job_last_start_timestamp_seconds"]
        ]
        with pytest.raises(KeyError):
            task(KeyError())
    assert values(server.seen[-1])["batch_job_success"] == 0


def test_the_decorator_needs_no_parentheses():
    with rogue() as server:

        @gateway(server).job_run
        def double(x):
            return 2 * x

        @AsyncPushGateway(server.url, job="a", properties=False).job_run
        async def triple(x):
            return 3 * x

        assert double(2) == 4
        assert asyncio.run(triple(2)) == 6
    assert [request.path for request in server.seen] == ["/metrics/job/j", "/metrics/job/a"]
