"""deploy/alerts and deploy/grafana, in a real Prometheus that scrapes a real gateway."""

import json
import re
import subprocess
import threading
import time

import pytest
import yaml

from tests import pages, services
from tests.exchange import ask

ALERTS = services.ROOT / "deploy" / "alerts"
RULES = ALERTS / "pushgate.rules.yml"
PAGE = pages.page("alerts")
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
FOUND = [rule for group in GROUPS for rule in group["rules"]]
ALERT_NAMES = [rule["alert"] for rule in FOUND if "alert" in rule]
RECORDS = [rule["record"] for rule in FOUND if "record" in rule]
DASHBOARD = json.loads((services.ROOT / "deploy" / "grafana" / "pushgate.json").read_text())
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]
VARIABLES = {"$instance": ".*", "$pushed_job": ".*", "$__rate_interval": "10s"}
EXPECTED = "rules: [{match: '{job=\"late\"}', expect_every: 1s}]\n"


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [services.find_promtool(), *arguments],
        cwd=ALERTS, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_not_before():
    promtool("check", "rules", "pushgate.rules.yml")
    promtool("test", "rules", "pushgate.tests.yml")
    tests = yaml.safe_load((ALERTS / "pushgate.tests.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if "exp_alerts" in case} == {*ALERT_NAMES}
    assert {case["alertname"] for case in cases if "exp_alerts" not in case} == {*ALERT_NAMES}


def test_the_page_has_a_paragraph_for_each_alert_and_each_record():
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == ALERT_NAMES
    paragraphs = re.findall(r"^### \w+\n\n([^#]+)", PAGE, re.MULTILINE)
    assert all(len(paragraph.split()) > 20 for paragraph in paragraphs)
    for rule in FOUND:
        if "alert" in rule:
            anchor = f"docs/alerts.md#{rule['alert'].lower()}"
            assert rule["annotations"]["runbook"] == anchor
    assert {*re.findall(r"`(\w+:\w+:\w+)`", PAGE)} == {*RECORDS}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A gateway with a late group, a refused push, and jobs that failed and succeeded."""
    rules = tmp_path_factory.mktemp("rules") / "rules.yml"
    rules.write_text(EXPECTED)
    with services.pushgate(f"--push.rules-file={rules}") as gateway:
        for command, status in (("sleep 1", 0), ("false", 1)):
            run = [services.PUSHGATE, "run", "--job", command, "--every", "200ms"]
            options = ["--expect-every", "1h", "-a", f"127.0.0.1:{gateway.port}", "--"]
            done = subprocess.run([*run, *options, *command.split()], timeout=30, check=False)
            assert done.returncode == status
        ask(gateway.port, "PUT", "/metrics/job/late", b"rows 3\n")
        ask(gateway.port, "PUT", "/metrics/job/refused", b'rows{job="a"} 3\nrows{job="b"} 3\n')
        yield gateway


@pytest.fixture(scope="module")
def prometheus(gateway):
    """As the page configures it, but faster; pushes, and refused ones, come all the time."""
    (config,) = pages.blocks("alerts", "yaml")
    config = config.replace("pushgate.rules.yml", str(RULES))
    config = config.replace("localhost:9091", f"127.0.0.1:{gateway.port}")
    config += "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
    stopped = threading.Event()

    def push() -> None:
        while not stopped.wait(0.2):
            ask(gateway.port, "PUT", "/metrics/job/pushed", b"rows 3\n")
            ask(gateway.port, "PUT", "/metrics/job/broken", b"rows\n")

    pusher = threading.Thread(target=push)
    pusher.start()
    try:
        with services.prometheus(config) as prometheus:
            yield prometheus
    finally:
        stopped.set()
        pusher.join()


@pytest.mark.parametrize("expression", QUERIES)
def test_every_query_of_the_dashboard_has_an_answer(prometheus, expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    assert services.query(prometheus, expression)


@pytest.mark.parametrize("record", RECORDS)
def test_every_recorded_series_has_samples(prometheus, record):
    assert services.query(prometheus, record)


def test_alerts_fire_for_jobs_that_are_late_or_failed(prometheus):
    wanted = {("PushLate", "late"), ("PushFailed", "refused"), ("JobFailed", "false")}
    deadline = time.monotonic() + 30
    while True:
        alerts = json.loads(prometheus.get("/api/v1/alerts"))["data"]["alerts"]
        firing = {
            (alert["labels"]["alertname"], alert["labels"].get("job"))
            for alert in alerts
            if alert["state"] == "firing"
        }
        if wanted <= firing:
            break
        assert time.monotonic() < deadline, firing
        time.sleep(0.1)
    assert firing - wanted <= {("PushFailed", "broken")}


def test_prometheus_can_evaluate_every_rule(prometheus):
    services.query(prometheus, "ALERTS")
    groups = json.loads(prometheus.get("/api/v1/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(FOUND)
    assert [rule["name"] for rule in rules if rule.get("lastError")] == []


def test_every_metric_that_a_rule_names_exists(prometheus, gateway, postgres):
    services.query(prometheus, "pushgate_rejected_pushes_total")  # it exists from the first one on
    url = postgres.url_of(postgres.database())
    with services.serving(f"--persistence.url={url}") as replica:
        exposed = gateway.get("/metrics") + replica.get("/metrics")
    expressions = re.sub(r"\{[^}]*\}|\w+:\w+:\w+", "", " ".join(rule["expr"] for rule in FOUND))
    named = {*re.findall(r"\b(?:push|batch_job|process)\w+", expressions)}
    assert len(named) > 20
    assert {name for name in named if f"\n{name}" not in exposed} == set()
