"""Rules on a real server: files, signals, restarts, scrapes."""

import re
import signal
import time
from pathlib import Path

import pytest

from tests import services
from tests.delimited import PROTOBUF
from tests.exchange import ask
from tests.waiting import until

TIME = re.compile(r'^push_time_seconds\{.*job="a"\} (\S+)$', re.MULTILINE)


def rules(folder: Path, text: str) -> Path:
    """Write *text* into the file at once, so that nobody reads half of it."""
    new = folder / "rules.yml.new"
    new.write_text(f"rules: [{text}]")
    return new.replace(folder / "rules.yml")


def eventually(service: services.Service, wanted: str, *, there: bool = True) -> str:
    """The exposition as soon as *wanted* is in it, or is not."""

    def found() -> str:
        exposition = service.get("/metrics")
        return exposition if (wanted in exposition) is there else ""

    return until(found, reason=f"{wanted} in the exposition was never {there}")


def push(service: services.Service, job: str = "a", method: str = "PUT") -> None:
    assert ask(service.port, method, f"/metrics/job/{job}", b"m 1\n").status == 200


def test_metrics_are_never_scraped_after_their_time_and_do_not_come_back(tmp_path):
    data = tmp_path / "pushgate.db"
    file = rules(tmp_path, "{match: '{job=\"a\"}', ttl: 1500ms}")
    with services.pushgate(f"--push.rules-file={file}", data=data) as server:
        push(server)
        push(server, "other")
        while True:
            asked = time.time()
            found = server.get("/metrics")
            pushed = float(TIME.search(found)[1])
            if 'm{instance="",job="a"}' not in found:
                break
            assert asked < pushed + 1.5
        assert 'm{instance="",job="other"} 1' in found
        eventually(server, "pushgate_expired_groups_total 1\n")
        assert 'job=\\"a\\"' in server.log.read_text()
        server.kill()
    with services.pushgate(data=data) as server:
        found = server.get("/metrics")
        assert 'm{instance="",job="a"}' not in found
        assert float(TIME.search(found)[1]) == pushed
        assert 'm{instance="",job="other"} 1' in found


def test_what_becomes_due_while_the_server_is_down_is_not_in_its_first_answer(tmp_path):
    data = tmp_path / "pushgate.db"
    with services.pushgate(data=data) as server:
        push(server)
        pushed = time.time()
    time.sleep(max(0, pushed + 1.01 - time.time()))
    with services.pushgate("--push.ttl=1s", data=data) as server:
        assert ask(server.port, "GET", "/api/v1/metrics").text.count('"m"') == 0
        assert 'm{instance="",job="a"}' not in server.get("/metrics")
        assert TIME.search(server.get("/metrics"))


def test_a_forgotten_group_is_gone_with_its_push_times(tmp_path):
    with services.pushgate("--push.forget-after=1s", data=tmp_path / "pushgate.db") as server:
        push(server)
        eventually(server, 'job="a"', there=False)
        assert "pushgate_groups 0\n" in server.get("/metrics")


def test_the_expected_interval_is_exposed_where_a_rule_says_so(tmp_path):
    file = rules(tmp_path, "{match: '{job=~\"a.*\"}', expect_every: 24h}")
    with services.pushgate(f"--push.rules-file={file}") as server:
        body = b"m 1\npush_expected_interval_seconds 7\n"
        assert ask(server.port, "PUT", "/metrics/job/a/x/y", body).status == 200
        push(server, "b")
        found = server.get("/metrics")
        lines = [line for line in found.split("\n") if "push_expected_interval_seconds" in line]
        assert lines[1:] == [
            "# TYPE push_expected_interval_seconds gauge",
            'push_expected_interval_seconds{instance="",job="a",x="y"} 86400',
        ]
        answer = ask(server.port, "GET", "/metrics", headers={"Accept": PROTOBUF})
        assert answer.body.count(b"push_expected_interval_seconds") == 1

        rules(tmp_path, "")
        server.process.send_signal(signal.SIGHUP)
        eventually(server, "push_expected_interval_seconds", there=False)


def test_a_changed_file_is_taken_over_and_an_invalid_one_is_not(tmp_path):
    file = rules(tmp_path, "{match: '{}', expect_every: 1h}")
    with services.pushgate(f"--push.rules-file={file}") as server:
        push(server)
        assert 'push_expected_interval_seconds{instance="",job="a"} 3600' in server.get("/metrics")
        rules(tmp_path, "{match: '{}', expect_every: 2h}")
        eventually(server, 'push_expected_interval_seconds{instance="",job="a"} 7200')
        rules(tmp_path, "{match: '{}', expect_every: 3}")
        found = eventually(server, "pushgate_rules_valid 0\n")
        assert "pushgate_rules_reload_failures_total 1\n" in found
        assert 'push_expected_interval_seconds{instance="",job="a"} 7200' in found
        assert "line 1: rules[0].expect_every: missing unit" in server.log.read_text()
        assert server.log.read_text().count("the rules file is invalid") == 1
        rules(tmp_path, "{match: '{}', expect_every: 2h}")
        eventually(server, "pushgate_rules_valid 1\n")


def test_a_sighup_always_logs_what_became_of_the_rules(tmp_path):
    file = rules(tmp_path, "{match: '{}', expect_every: 1h}")

    def logged_after_sighup(server, line: str, times: int) -> None:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: server.log.read_text().count(line) == times)

    with services.pushgate(f"--push.rules-file={file}") as server:
        logged_after_sighup(server, "rules reloaded", 1)
        logged_after_sighup(server, "rules reloaded", 2)
        rules(tmp_path, "{match: '{}', expect_every: 3}")
        until(lambda: "the rules file is invalid" in server.log.read_text())
        logged_after_sighup(server, "the rules file is invalid", 2)


def test_a_sighup_without_files_says_that_there_is_nothing_to_reload():
    with services.pushgate() as server:
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "nothing to reload" in server.log.read_text())


def test_bad_rules_are_an_error_at_the_start(tmp_path):
    file = rules(tmp_path, "{ttl: 1h}")
    with (
        pytest.raises(ChildProcessError, match="ended with 1") as ended,
        services.pushgate(f"--push.rules-file={file}"),
    ):
        pass
    said = f"pushgate: --push.rules-file={file}: line 1: rules[0]: match is missing\n"
    assert ended.value.__notes__[0].endswith(said)
