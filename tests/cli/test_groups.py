"""Groups by selector on the command line, on a real gateway."""

import json

import pytest

from pushgate import Payload, PushGateway, PushRejectedError
from tests.cli.commands import pushgate
from tests.client.rogue import answer, rogue


@pytest.fixture
def filled(ours):
    gateway = PushGateway(ours.url, properties=False)
    gateway.delete_groups('{job=~".+"}')
    for job, host in (("a", "x1"), ("a", "x2"), ("b", "y\n")):
        one = gateway.replace(job=job, grouping_key={"host": host})
        one.push_payload(Payload(b"# TYPE rows gauge\nrows 1\n", "text/plain"))
    with pytest.raises(PushRejectedError):
        gateway.replace(job="bad").push_payload(Payload(b"# TYPE rows counter\nrows 1\n", ""))
    return ours


def hosts(done):
    return [line.split()[1] for line in done.stdout.splitlines()[1:]]


def test_a_list_is_a_table_with_the_reasons_of_failures(filled):
    lines = pushgate("list", "-a", filled.url).stdout.splitlines()
    assert lines[0].split() == ["JOB", "LABELS", "AGE", "STATE", "SERIES", "REASON"]
    [bad] = [line for line in lines if line.startswith("bad")]
    assert bad.split()[:5] == ["bad", "-", "never", "failed", "0"]
    assert 'collected metric "rows"' in bad
    assert "host=y\\n" in "".join(lines)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-m", '{host=~"x.*"}'), ["host=x1", "host=x2"]),
        (("-m", '{job="b"}', "--match", '{host="x1"}'), ["host=x1", "host=y\\n"]),
        (("--failed",), ["-"]),
        (("--older-than", "1h"), []),
    ],
)
def test_a_list_shows_the_groups_that_were_asked_for(filled, arguments, expected):
    done = pushgate("list", "-a", filled.url, *arguments)
    assert (done.exit_code, hosts(done)) == (0, expected)


def test_a_list_as_json(filled):
    done = pushgate("list", "-a", filled.url, "--json", "-m", '{host="x1"}')
    [group] = json.loads(done.stdout)
    assert (group["labels"], group["series"]) == ({"job": "a", "host": "x1"}, 1)


def left(gateway):
    return hosts(pushgate("list", "-a", gateway.url))


@pytest.mark.parametrize(
    ("arguments", "gone"),
    [
        (("delete", "--match", '{job="a"}'), ["host=x1", "host=x2"]),
        (("delete", "--match", '{job=~".+"}', "--failed"), ["-"]),
        (("delete", "--older-than", "1ms"), ["host=x1", "host=x2", "host=y\\n", "-"]),
    ],
)
def test_groups_are_deleted_by_selector_and_age_after_a_dry_run(filled, arguments, gone):
    before = left(filled)
    number = f"{len(gone)} group{'' if len(gone) == 1 else 's'}"
    tried = pushgate(*arguments, "-a", filled.url, "--dry-run")
    assert (tried.exit_code, sorted(hosts(tried)), left(filled)) == (0, sorted(gone), before)
    assert tried.stderr == f"pushgate: would delete {number}\n"
    done = pushgate(*arguments, "-a", filled.url)
    assert (done.exit_code, sorted(hosts(done))) == (0, sorted(gone))
    assert done.stderr == f"pushgate: deleted {number}\n"
    assert left(filled) == [host for host in before if host not in gone]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("delete", "--failed"), "need --match or --older-than"),
        (("delete", "-j", "a", "--dry-run"), "need --match or --older-than"),
        (("delete", "-j", "a", "--match", '{job="a"}'), "name one group"),
        (("delete", "-g", "a=b", "--older-than", "1h"), "name one group"),
        (("delete", "--older-than", "0s"), "is not a time above 0"),
    ],
)
def test_what_could_delete_more_than_was_meant_is_refused(arguments, said):
    with rogue() as server:
        done = pushgate(*arguments, "-a", server.url)
        assert (done.exit_code, said in done.stderr) == (2, True)
        assert server.seen == []


@pytest.mark.parametrize("command", [("list",), ("delete",), ("prune", "--older-than", "1h")])
def test_a_wrong_selector_is_refused_with_its_position(filled, command):
    done = pushgate(*command, "-a", filled.url, "--match", "{job=~a}")
    assert done.exit_code == 3
    assert "position 7" in done.stderr


def test_a_gateway_without_a_list_is_told_so():
    with rogue(answer(404, b"404 page not found")) as server:
        done = pushgate("list", "-a", server.url)
    assert done.exit_code == 3
    assert "the gateway has no list of groups; Pushgate has" in done.stderr


def test_the_job_of_the_environment_is_not_in_the_way(filled, monkeypatch):
    monkeypatch.setenv("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_JOB", "nightly")
    done = pushgate("delete", "-a", filled.url, "--match", '{job="a"}')
    assert (done.exit_code, hosts(done)) == (0, ["host=x1", "host=x2"])
