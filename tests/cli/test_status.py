import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.commands import process, pushgate
from tests.client.rogue import answer, rogue
from tests.services import PUSHGATE

ABOUT = b'{"data":{"build_information":{"version":"1.11.3"},"flags":{},"start_time":"then"}}'


def group(labels, seconds_ago, families, *, successful=True):
    pushed = 0 if seconds_ago is None else time.time() - seconds_ago
    entry = {
        "labels": labels,
        "last_push_successful": successful,
        "push_time_seconds": {"type": "GAUGE", "metrics": [{"value": f"{pushed:.9e}"}]},
        "push_failure_time_seconds": {"type": "GAUGE", "metrics": [{"value": "0"}]},
    }
    for name, series in families.items():
        entry[name] = {"type": "GAUGE", "metrics": [{"value": "1"}] * series}
    return entry


def status(*arguments):
    groups = [
        group({"job": "a"}, 7300, {"rows": 2, "size": 1}),
        group({"job": "b", "instance": "i", "x": "y\n"}, 90, {"size": 1}, successful=False),
        group({"job": "new"}, None, {}, successful=False),
    ]
    with rogue(answer(200, ABOUT), answer(200, json.dumps({"data": groups}).encode())) as server:
        return pushgate("status", "-a", server.url, *arguments)


def jobs(done):
    return [line.split()[0] for line in done.stdout.splitlines()[2:]]


def test_status_is_a_table():
    assert status().output == (
        "version 1.11.3, started then\n"
        "JOB  LABELS            AGE    STATE   SERIES\n"
        "a    -                 2h     ok      3\n"
        "b    instance=i,x=y\\n  1m     failed  1\n"
        "new  -                 never  failed  0\n"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("size",), ["a", "b"]),
        (("-j", "b"), ["b"]),
        (("-j", "b", "-g", "x=z"), []),
        (("-g", "instance=i"), ["b"]),
        (("--instance", "i"), ["b"]),
        (("-g", "instance="), ["a", "new"]),
        (("--failed",), ["b", "new"]),
        (("--older-than", "1h"), ["a", "new"]),
        (("--older-than", "1h", "--failed"), ["new"]),
    ],
)
def test_status_shows_the_groups_that_were_asked_for(arguments, expected):
    done = status(*arguments)
    assert (done.exit_code, jobs(done)) == (0, expected)


@pytest.mark.parametrize("arguments", [("nothing",), ("-j", "b", "rows")])
def test_a_metric_that_no_group_has_is_status_1(arguments):
    done = status(*arguments)
    assert done.exit_code == 1
    assert f"no such group has a metric '{arguments[-1]}'" in done.stderr


def test_status_as_json():
    read = json.loads(status("--json", "-j", "b").stdout)
    assert (read["version"], read["start_time"]) == ("1.11.3", "then")
    [only] = read["groups"]
    assert time.time() - only.pop("last_push") == pytest.approx(90, abs=30)
    assert only == {
        "labels": {"job": "b", "instance": "i", "x": "y\n"},
        "last_push_successful": False,
        "families": ["push_failure_time_seconds", "push_time_seconds", "size"],
        "series": 1,
    }


def test_status_of_a_real_gateway(gateway):
    pushgate("set", "-a", gateway.url, "-j", "s", "-g", "a=b", "one=1", "two=2")
    bad = pushgate("push", "-a", gateway.url, "-j", "bad", stdin="# TYPE one counter\none 1\n")
    assert bad.exit_code == 3
    done = pushgate("status", "-a", gateway.url)
    assert done.exit_code == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [["s", "a=b"], ["ok", "2"]] in [[row[:2], row[3:]] for row in rows]
    assert ["bad", "-", "never", "failed", "0"] in rows


def test_a_full_disk_under_stdout_is_an_error(ours):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PUSHGATE, "status", "-a", ours.url],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "pushgate: cannot write to stdout: No space left on device\n"


def test_a_terminal_that_lacks_a_letter_gets_escapes(ours):
    pushgate("set", "-a", ours.url, "-j", "Straße", "rows=1")
    environment = {**os.environ, "PYTHONIOENCODING": "iso8859-5"}
    done = process("status", "-a", ours.url, env=environment)
    assert done.returncode == 0
    assert "Stra\\xdfe" in done.stdout
