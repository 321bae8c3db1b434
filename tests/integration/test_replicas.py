"""Several servers over one database answer as one server would, also while it is away."""

import re
import time
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest

from tests import services
from tests.postgres import Postgres


@pytest.fixture
def url(postgres):
    return postgres.url_of(postgres.database())


def serve(url: str, *flags: str):
    return services.serving(*flags, environment={"PUSHGATE_PERSISTENCE_URL": url})


@pytest.fixture
def replicas(url):
    with ExitStack() as started:
        yield [started.enter_context(serve(url)) for _ in range(2)]


def asked(service, method: str, path: str, body: str = "", **headers: str):
    request = urllib.request.Request(
        service.url + path, body.encode(), {k.replace("_", "-"): v for k, v in headers.items()},
        method=method,
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def own(service, name: str) -> float:
    """The value of the server's own metric *name*."""
    lines = service.get("/metrics").splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


def pushed(service) -> list[str]:
    return [line for line in service.get("/metrics").splitlines() if 'job="' in line]


def test_every_answer_is_that_of_one_server(replicas):
    one, other = replicas
    for number in range(20):
        assert asked(one, "PUT", f"/metrics/job/j{number % 3}", f"m {number}\n")[0] == 200
        assert f'm{{instance="",job="j{number % 3}"}} {number}' in pushed(other)
    status, text, _ = asked(other, "PUT", "/metrics/job/x", "# TYPE m counter\nm 1\n")
    assert (status, "is not a UNTYPED" in text) == (400, True)
    assert asked(one, "GET", "/api/v1/groups?failed=true")[1].count("is not a UNTYPED") == 1
    assert "is not a UNTYPED" in one.get("/?q=x")
    assert asked(other, "DELETE", "/metrics/job/j1")[0] == 202
    assert 'job="j1"' not in one.get("/metrics")
    deleted = asked(one, "DELETE", '/api/v1/groups?match[]={job=~"j.*"}')[1]
    assert '"total":2' in deleted
    assert pushed(one) == pushed(other)
    assert len(pushed(one)) == 2


def test_a_group_expires_once_for_all(url):
    with serve(url, "--push.ttl=2s") as one, serve(url, "--push.ttl=2s") as other:
        asked(one, "PUT", "/metrics/job/a", "m 1\n")
        since = time.monotonic()
        asked(other, "PUT", "/metrics/job/a", "m 2\n")
        is_there = any(line.startswith("m{") for line in pushed(one))
        assert is_there or time.monotonic() >= since + 2
        time.sleep(2.1)
        assert not any(line.startswith("m{") for line in pushed(one) + pushed(other))
        assert pushed(one) == pushed(other)
        assert len(pushed(one)) == 2
        assert sum(own(each, "pushgate_expired_groups_total") for each in (one, other)) == 1


def test_everything_is_there_after_all_of_them_were_killed(replicas, url):
    one, other = replicas
    asked(one, "PUT", "/metrics/job/a", "m 1\n")
    asked(other, "PUT", "/metrics/job/b", "m 2\n")
    for each in replicas:
        each.kill()
    with serve(url) as again:
        assert [line for line in pushed(again) if line.startswith("m{")] == [
            'm{instance="",job="a"} 1',
            'm{instance="",job="b"} 2',
        ]


def test_the_status_page_names_the_database_without_the_password(url):
    with serve(url.replace("postgres@", "postgres:s3cret@")) as service:
        asked(service, "PUT", "/metrics/job/a", "m 1\n")
        page = service.get("/status") + service.get("/api/v1/status") + service.log.read_text()
    assert "0 changes of other servers · a turn takes" in page
    assert re.search(r" changes · up to date [\d.]+ (µs|ms|s) ago<", page)
    assert "s3cret" not in page
    assert "postgres:xxxxx@" in page


@pytest.mark.timeout(120)
def test_while_the_database_is_away_old_metrics_are_shown_and_pushes_refused():
    with (
        Postgres.running() as cluster,
        serve(cluster.url) as patient,
        serve(cluster.url, "--persistence.max-staleness=1s") as strict,
    ):
        asked(patient, "PUT", "/metrics/job/a", "m 1\n")
        cluster.stop("immediate")
        status, text, headers = asked(strict, "PUT", "/metrics/job/a", "m 2\n")
        assert (status, headers["retry-after"]) == (503, "5")
        assert "Connection refused; the push is not stored, so push again" in text
        assert 'm{instance="",job="a"} 1' in pushed(patient)
        for path in ("/metrics", "/api/v1/groups", "/"):
            assert int(asked(patient, "GET", path)[2]["age"]) >= 1
        assert own(patient, "pushgate_storage_connected") == 0
        assert asked(patient, "GET", "/-/ready")[0] == 503
        assert "pushes are refused, and metrics shown as of" in strict.get("/status")
        time.sleep(1.1)
        status, text, headers = asked(strict, "GET", "/metrics")
        assert (status, headers["retry-after"]) == (503, "5")
        assert "too old to be shown (--persistence.max-staleness)" in text
        assert own(patient, "pushgate_storage_copy_age_seconds") > 1
        cluster.start()
        assert asked(strict, "PUT", "/metrics/job/a", "m 3\n")[0] == 200
        assert 'm{instance="",job="a"} 3' in pushed(patient)
        assert own(patient, "pushgate_storage_connected") == 1
        assert "age" not in asked(patient, "GET", "/metrics")[2]
        for each in (patient, strict):
            services.wait_until_ready(each, "/-/ready")
            lines = [
                line for line in each.log.read_text().splitlines() if "the journal can" in line
            ]
            assert len(lines) == 2


def test_a_start_without_the_database_is_one_line_and_status_1():
    with pytest.raises(ChildProcessError) as ended, serve("postgresql://u:s3cret@127.0.0.1:1/db"):
        pass
    assert "ended with 1" in str(ended.value)
    (note,) = ended.value.__notes__
    (line,) = [line for line in note.splitlines() if line.startswith("pushgate: ")]
    assert line.startswith("pushgate: can't use the database 127.0.0.1:1/db: connection failed")
    assert "s3cret" not in note
