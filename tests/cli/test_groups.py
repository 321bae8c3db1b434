"""Groups on the command line, on a real gateway: shown, and deleted, but no more than asked for."""

import json
import time

import pytest

from pushgate import Payload, PushGateway, PushRejectedError
from tests.cli.commands import process, pushgate
from tests.client.rogue import answer, closed_port, rogue
from tests.waiting import until


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


def test_delete_deletes_the_group(gateway):
    pushgate("set", "-a", gateway.url, "-j", "gone", "-g", "a=b", "rows=1")
    done = pushgate("delete", "-a", gateway.url, "-j", "gone", "-g", "a=b")
    assert (done.exit_code, done.output) == (0, "")
    until(lambda: 'job="gone"' not in gateway.get("/metrics"))  # Go answers before it deletes


def test_delete_says_that_nothing_was_there(gateway):
    done = pushgate("delete", "-a", gateway.url, "-j", "never", "-g", "a=b")
    assert done.exit_code == 0
    assert f'there was no group {{job="never",a="b"}} at {gateway.url}' in done.stderr


def test_delete_does_without_the_list_of_groups():
    with rogue(answer(404), answer(202)) as server:
        done = pushgate("delete", "-a", server.url, "-j", "j")
    assert (done.exit_code, done.output) == (0, "")
    assert [request.method for request in server.seen] == ["GET", "DELETE"]


@pytest.mark.parametrize(
    ("trouble", "status"), [(400, 3), (413, 3), (302, 3), (503, 4), (429, 4), (401, 5), (403, 5)]
)
def test_each_answer_has_its_exit_status(trouble, status):
    with rogue(answer(trouble, b"the reason")) as server:
        done = pushgate("delete", "-j", "j", "-a", server.url, "--retries", "0")
    assert done.exit_code == status
    assert "pushgate: Failed to delete" in done.stderr
    assert "the reason" in done.stderr


def test_an_unreachable_gateway_is_status_4():
    done = pushgate("delete", "-j", "j", "-a", f"localhost:{closed_port()}", "--retries", "0")
    assert done.exit_code == 4


def test_no_group_is_chosen_by_default():
    with rogue() as server:
        done = pushgate("delete", "-a", server.url)
    assert done.exit_code == 2
    assert "name it with --job" in done.stderr
    assert server.seen == []


def test_delete_has_no_option_that_means_nothing_for_it():
    shown = process("delete", "--help").stdout
    assert "--address" in shown
    for option in ("--compression", "--on-label-clash", "--format"):
        assert option not in shown


def fill(gateway, *names):
    for job in names:
        assert pushgate("set", "-a", gateway.url, "-j", job, "rows=1").exit_code == 0


@pytest.fixture
def pair(ours):
    """A gateway with the groups `old` and `other`."""
    PushGateway(ours.url, properties=False).delete_groups('{job=~".+"}')
    fill(ours, "old", "other")
    return ours


@pytest.fixture
def aged(pair):
    """A gateway that the group `new` was pushed to two seconds later than the others."""
    time.sleep(2)
    fill(pair, "new")
    return pair


def jobs(gateway):
    done = pushgate("list", "-a", gateway.url, "--json")
    return {group["labels"]["job"] for group in json.loads(done.stdout)}


def test_groups_that_are_older_are_deleted(aged):
    done = pushgate("prune", "-a", aged.url, "--older-than", "2s")
    assert (done.exit_code, done.stderr) == (0, "pushgate: deleted 2 groups\n")
    assert jobs(aged) == {"new"}


def test_of_the_old_groups_a_selector_chooses(pair):
    done = pushgate("prune", "-a", pair.url, "--older-than", "1ms", "--match", '{job="old"}')
    assert (done.exit_code, done.stderr) == (0, "pushgate: deleted 1 group\n")
    assert jobs(pair) == {"other"}


def test_nothing_is_that_old(pair):
    done = pushgate("prune", "-a", pair.url, "--older-than", "30d")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "pushgate: deleted 0 groups\n"
    assert jobs(pair) == {"old", "other"}


def test_a_dry_run_lists_the_groups_and_deletes_none(aged):
    done = pushgate("prune", "-a", aged.url, "--older-than", "2s", "--dry-run", "--json")
    assert {group["labels"]["job"] for group in json.loads(done.stdout)} == {"old", "other"}
    assert done.stderr == "pushgate: would delete 2 groups\n"
    assert jobs(aged) == {"old", "other", "new"}


@pytest.mark.parametrize("more", [(), ("--match", '{job="a"}'), ("--dry-run",)])
def test_without_an_age_nothing_is_deleted(more):
    with rogue() as server:
        done = pushgate("prune", "-a", server.url, *more)
        assert (done.exit_code, server.seen) == (2, [])
    assert "--older-than is required" in done.stderr
