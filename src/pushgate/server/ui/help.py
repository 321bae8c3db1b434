"""How to use this very gateway, ready to copy."""

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from pushgate.server.settings import Settings
from pushgate.server.ui.groups import Snippet


class Section(NamedTuple):
    """A heading, a sentence, and what to copy."""

    title: str
    text: str
    snippets: list[Snippet]


_SCRAPE: Final = """\
scrape_configs:
  - job_name: pushgateway
    honor_labels: true
    scheme: {scheme}
    metrics_path: {path}
    static_configs:
      - targets: ["{host}"]
"""
_CURL: Final = """\
# Replace all metrics of the group; POST instead of PUT keeps those with other names.
cat <<'END' | curl -X PUT --data-binary @- {url}/metrics/job/backup/instance/db1
# TYPE backup_size_bytes gauge
# HELP backup_size_bytes Size of what was written.
backup_size_bytes 835306302261
END
"""
_PYTHON: Final = """\
from pushgate import PushGateway

gateway = PushGateway("{url}")

with gateway.job_run("backup") as job:
    job.gauge("backup_size_bytes", "Size of what was written.").set(835306302261)
"""
_PROMETHEUS_CLIENT: Final = """\
from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

registry = CollectorRegistry()
size = Gauge("backup_size_bytes", "Size of what was written.", registry=registry)
size.set(835306302261)
push_to_gateway("{url}", job="backup", registry=registry)
"""
_JAVA: Final = """\
PushGateway gateway = PushGateway.builder()
    .address("{host}")
    .scheme(Scheme.{java_scheme})
    .job("backup")
    .groupingKey("instance", "db1")
    .build();
gateway.push();
"""
_GO: Final = """\
err := push.New("{url}", "backup").
	Grouping("instance", "db1").
	Collector(size).
	Push()
"""
_NODE: Final = """\
const client = require("prom-client");
const gateway = new client.Pushgateway("{url}");
await gateway.push({{ jobName: "backup", groupings: {{ instance: "db1" }} }});
"""
_POWERSHELL: Final = """\
$body = "backup_size_bytes 835306302261`n"
Invoke-RestMethod -Method Put -Uri "{url}/metrics/job/backup/instance/db1" -Body $body
"""
_COMMAND: Final = """\
# Runs the command and pushes when it ran, how long, and whether it worked.
pushgate run --address {url} --job backup -- ./backup.sh
"""
_ALERTS: Final = """\
groups:
  - name: pushgateway
    rules:
      - alert: PushIsLate
        expr: time() - push_time_seconds > 1.5 * push_expected_interval_seconds
        for: 5m
        annotations:
          summary: "{{ $labels.job }} has not pushed for {{ $value | humanizeDuration }}."
      - alert: PushFailed
        expr: push_failure_time_seconds > push_time_seconds
        annotations:
          summary: "The last push of {{ $labels.job }} was refused."
      - alert: PushgatewayDown
        expr: up{job="pushgateway"} == 0
        for: 5m
"""


def sections(settings: Settings, base_url: str) -> list[Section]:
    """Return the help for the gateway that is reached at *base_url*."""
    parts = urlsplit(base_url)
    telemetry = settings.telemetry_path.removeprefix(settings.route_prefix)
    words = {
        "url": base_url,
        "host": parts.netloc,
        "scheme": parts.scheme,
        "java_scheme": parts.scheme.upper(),
        "path": f"{settings.external_prefix}{telemetry}",
    }
    pushes = {
        "curl": _CURL,
        "A command, as cron runs it": _COMMAND,
        "Python, with pushgate": _PYTHON,
        "Python, with prometheus_client": _PROMETHEUS_CLIENT,
        "Java": _JAVA,
        "Go": _GO,
        "Node": _NODE,
        "PowerShell": _POWERSHELL,
    }
    return [
        Section(
            "Scrape",
            "Prometheus has to keep the labels that jobs push, hence honor_labels.",
            [Snippet("prometheus.yml", _SCRAPE.format(**words))],
        ),
        Section(
            "Push",
            "PUT replaces a group, POST replaces the metrics of the same names in it, "
            "DELETE removes it. The path names the group.",
            [Snippet(name, text.format(**words)) for name, text in pushes.items()],
        ),
        Section(
            "Alert",
            "The server keeps push_time_seconds and push_failure_time_seconds in every group, and "
            "push_expected_interval_seconds where a rule sets an interval.",
            [Snippet("Alert rules", _ALERTS)],
        ),
    ]
