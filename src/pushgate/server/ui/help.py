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
# PUT replaces the group; POST keeps its metrics of other names.
curl --fail -X PUT --data-binary @- {url}/metrics/job/backup/instance/db1 <<'END'
# TYPE backup_size_bytes gauge
# HELP backup_size_bytes Size of what was written.
backup_size_bytes 835306302261
END
"""
_PYTHON: Final = """\
from pushgate import PushGateway

gateway = PushGateway("{url}", grouping_key={{"instance": "db1"}})

with gateway.job_run("backup") as job:
    job.gauge("backup_size_bytes", "Size of what was written.").set(835306302261)
"""
_PROMETHEUS_CLIENT: Final = """\
from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

registry = CollectorRegistry()
size = Gauge("backup_size_bytes", "Size of what was written.", registry=registry)
size.set(835306302261)
push_to_gateway("{url}", "backup", registry, grouping_key={{"instance": "db1"}})
"""
_JAVA: Final = """\
import io.prometheus.metrics.core.metrics.Gauge;
import io.prometheus.metrics.exporter.pushgateway.PushGateway;
import io.prometheus.metrics.exporter.pushgateway.Scheme;

class Backup {{
  public static void main(String[] arguments) throws Exception {{
    Gauge size =
        Gauge.builder().name("backup_size_bytes").help("Size of what was written.").register();
    size.set(835306302261.0);
    PushGateway.builder()
        .scheme(Scheme.{java_scheme})
        .address("{address}")
        .job("backup")
        .groupingKey("instance", "db1")
        .build()
        .push();
  }}
}}
"""
_GO: Final = """\
package main

import (
	"log"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
)

func main() {{
	size := prometheus.NewGauge(prometheus.GaugeOpts{{
		Name: "backup_size_bytes",
		Help: "Size of what was written.",
	}})
	size.Set(835306302261)
	pusher := push.New("{url}", "backup").Grouping("instance", "db1").Collector(size)
	if err := pusher.Push(); err != nil {{
		log.Fatal(err)
	}}
}}
"""
_NODE: Final = """\
const client = require("prom-client");

const size = new client.Gauge({{ name: "backup_size_bytes", help: "Size of what was written." }});
size.set(835306302261);
const gateway = new client.Pushgateway("{url}");
gateway.push({{ jobName: "backup", groupings: {{ instance: "db1" }} }});
"""
_POWERSHELL: Final = """\
$body = "# TYPE backup_size_bytes gauge`nbackup_size_bytes 835306302261`n"
Invoke-RestMethod -Method Put -Uri "{url}/metrics/job/backup/instance/db1" -Body $body
"""
_COMMAND: Final = """\
# Runs the command, then pushes when it ran, how long it took, and whether it succeeded.
pushgate run --address {url} --job backup --group instance=db1 -- ./backup.sh
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
        "address": base_url.removeprefix(f"{parts.scheme}://"),
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
            "honor_labels lets Prometheus keep the labels that jobs push.",
            [Snippet("prometheus.yml", _SCRAPE.format(**words))],
        ),
        Section(
            "Push",
            "The path names the group. PUT replaces the group, POST only replaces its metrics of "
            "the same names, and DELETE removes it.",
            [Snippet(name, text.format(**words)) for name, text in pushes.items()],
        ),
        Section(
            "Alert",
            "Every group has push_time_seconds and push_failure_time_seconds. Where a rule sets an "
            "interval, it also has push_expected_interval_seconds.",
            [Snippet("Alert rules", _ALERTS)],
        ),
    ]
