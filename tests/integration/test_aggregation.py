"""Workers add to one group, and the server is killed meanwhile: nothing counts twice or never."""

import http.client
import os
import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry, Counter

from pushgate import PushGateway
from tests import services
from tests.exchange import ask

WORKERS = int(os.environ.get("PUSHGATE_WORKERS", "10"))
PUSHES = int(os.environ.get("PUSHGATE_PUSHES", "40"))
KILLS = int(os.environ.get("PUSHGATE_KILLS", "3"))
RULES = (
    "rules: [{match: '{job=\"lambda\"}', aggregate: {counter: sum, histogram: sum, gauge: max}}]"
)
BODY = """\
# TYPE done counter
done 1
# TYPE largest gauge
largest {number}
# TYPE seconds histogram
seconds_bucket{{le="1"}} {below}
seconds_bucket{{le="+Inf"}} 1
seconds_sum 0.25
seconds_count 1
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("rules") / "rules.yml"
    file.write_text(RULES)
    return f"--push.rules-file={file}"


@pytest.fixture(scope="module")
def adding(rules):
    """A server with these rules for tests that use groups of their own."""
    with services.pushgate(rules) as service:
        yield service


class Progress:
    """Where the server is now, and how many pushes it has acknowledged in all its lives."""

    def __init__(self) -> None:
        self.port = 0
        self.acknowledged = 0
        self.repeated = 0
        self.lock = threading.Lock()


def push_until_acknowledged(connection, progress: Progress, body: str) -> None:
    """Send the same push with the same key until it is answered, whatever happens between."""
    key = uuid.uuid4().hex
    deadline = time.monotonic() + 60
    for attempt in range(10**6):
        assert time.monotonic() < deadline
        try:
            connection.port = progress.port
            connection.request("POST", "/metrics/job/lambda", body, {"Idempotency-Key": key})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            with progress.lock:
                progress.acknowledged += 1
                progress.repeated += attempt > 0
        except (OSError, http.client.HTTPException):
            connection.close()
            time.sleep(0.05)
        else:
            return


def work(progress: Progress, worker: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", 1, timeout=30)) as connection:
        for number in range(PUSHES):
            body = BODY.format(number=worker * PUSHES + number, below=number % 2)
            push_until_acknowledged(connection, progress, body)


@pytest.mark.timeout(120 + WORKERS * PUSHES // 50 + 10 * KILLS)
def test_workers_add_up_exactly_though_the_server_is_killed(tmp_path, rules):
    data, progress = tmp_path / "pushgate.db", Progress()
    began = time.monotonic()
    total = WORKERS * PUSHES
    with ThreadPoolExecutor(WORKERS) as pool:
        workers = []
        for life in range(KILLS + 1):
            with services.pushgate(rules, data=data) as server:
                progress.port = server.port
                workers = workers or [pool.submit(work, progress, n) for n in range(WORKERS)]
                if life == KILLS:
                    for worker in workers:
                        worker.result()
                    found = server.get("/metrics")
                    continue
                while progress.acknowledged < total * (life + 1) // (KILLS + 2):
                    time.sleep(0.002)
                time.sleep(random.Random(life).uniform(0, 0.02))
                server.kill()
    print(  # noqa: T201 - the figures of `make crash`
        f"{WORKERS} workers, {progress.acknowledged} pushes acknowledged, {KILLS} kills, "
        f"{progress.repeated} sent again, {time.monotonic() - began:.1f} s"
    )
    assert progress.acknowledged == total
    exact = {
        "done": total,
        "largest": total - 1,
        "seconds_sum": total / 4,
        "seconds_count": total,
    }
    for name, number in exact.items():
        (line,) = (line for line in found.split("\n") if line.startswith(f"{name}{{"))
        assert float(line.rpartition(" ")[2]) == number, line
    (line,) = (line for line in found.split("\n") if 'le="1"' in line)
    assert float(line.rpartition(" ")[2]) == WORKERS * (PUSHES // 2)


def done(server: services.Service) -> str:
    return server.get("/metrics").partition('done{instance="",job="lambda"} ')[2].split("\n")[0]


def test_a_repeated_push_gets_the_same_answer_and_counts_once_also_after_a_restart(tmp_path, rules):
    data = tmp_path / "pushgate.db"
    body = b"# TYPE done counter\ndone 1\n"

    def post(server, key: str, path: str = "/metrics/job/lambda", method: str = "POST") -> int:
        return ask(server.port, method, path, body, {"Idempotency-Key": key}).status

    with services.pushgate(rules, data=data) as server:
        assert [post(server, key) for key in "aabab"] == [200] * 5
        assert done(server) == "2"
        assert post(server, "a", "/metrics/job/lambda/instance/i") == 200
        assert 'done{instance="i",job="lambda"} 1' in server.get("/metrics")
        server.kill()
    with services.pushgate(rules, data=data) as server:
        assert [post(server, key) for key in "abc"] == [200] * 3
        assert done(server) == "3"
        assert post(server, "p", method="PUT") == 200
        assert post(server, "d") == 200
        assert post(server, "p", method="PUT") == 200
        assert done(server) == "2"


def test_a_key_that_is_too_long_is_refused(adding):
    answer = ask(adding.port, "POST", "/metrics/job/lambda", b"", {"Idempotency-Key": "k" * 256})
    assert (answer.status, answer.first_line) == (
        400,
        "the Idempotency-Key has more than 255 bytes",
    )


def test_without_a_rule_a_key_changes_nothing(adding):
    for number in (1, 2):
        body = b"done %d\n" % number
        ask(adding.port, "POST", "/metrics/job/other", body, {"Idempotency-Key": "k"})
    assert 'done{instance="",job="other"} 2' in adding.get("/metrics")


def test_pushes_of_our_client_are_added_up(adding):
    for _ in range(3):
        registry = CollectorRegistry()
        Counter("done", "Jobs done.", registry=registry).inc(2)
        PushGateway(adding.url, job="lambda", registry=registry).push_add()
    assert 'done_total{instance="",job="lambda"} 6' in adding.get("/metrics")


def test_what_cannot_be_added_is_a_400_with_the_reason(adding):
    post = "POST", "/metrics/job/lambda/instance/i"
    assert ask(adding.port, *post, b"# TYPE sent counter\nsent 1\n").status == 200
    refused = ask(adding.port, *post, b"# TYPE sent gauge\nsent 1\n")
    assert refused.status == 400
    assert "it is stored as a counter, not a gauge" in refused.first_line
    assert ask(adding.port, "DELETE", "/metrics/job/lambda/instance/i").status == 202
    assert ask(adding.port, *post, b"# TYPE sent gauge\nsent 1\n").status == 200
