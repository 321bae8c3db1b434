"""The way of one number: batch job, gateway, Prometheus."""

import json
import subprocess
import sys
import time
import urllib.parse

from tests import services

EXAMPLES = services.ROOT / "examples"
QUERY = 'data_processed_bytes{job="example"}'
CONFIG = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: pushgateway
    honor_labels: true
    static_configs:
      - targets: ["127.0.0.1:%d"]
"""


def first_answer(prometheus: services.Service, query: str) -> dict:
    """The first result of *query*, as soon as a scrape has brought it."""
    path = "/api/v1/query?" + urllib.parse.urlencode({"query": query})
    deadline = time.monotonic() + 30
    while not (result := json.loads(prometheus.get(path))["data"]["result"]):
        assert time.monotonic() < deadline, "no scrape brought it"
        time.sleep(0.1)
    return result[0]


def test_prometheus_finds_what_a_batch_job_pushed_under_its_own_labels(tmp_path):
    with (
        services.pushgate(data=tmp_path / "pushgate.db") as gateway,
        services.prometheus(CONFIG % gateway.port) as prometheus,
    ):
        job = [sys.executable, EXAMPLES / "batch_job.py", f"127.0.0.1:{gateway.port}"]
        subprocess.run(job, check=True)
        answer = first_answer(prometheus, QUERY)

    assert answer["value"][1] == "42"
    assert answer["metric"] == {"__name__": "data_processed_bytes", "job": "example"}


def test_the_demo_shows_the_exposition_and_the_answer():
    services.find_prometheus()
    demo = [sys.executable, EXAMPLES / "demo.py"]
    shown = subprocess.run(demo, check=False, capture_output=True, text=True)

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert 'data_processed_bytes{instance="",job="example"} 42' in shown.stdout
    assert '"42"' in shown.stdout
