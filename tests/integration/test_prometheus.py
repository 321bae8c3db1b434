"""The way of one number: batch job, gateway, Prometheus."""

import subprocess
import sys

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
    return services.query(prometheus, query)[0]


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
