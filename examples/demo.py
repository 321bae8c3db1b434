"""From a batch job to Prometheus: `make demo`.

Starts the gateway and a real Prometheus on loopback, runs the batch job beside this file, shows
what the gateway exposes afterwards and what Prometheus answers to a query, and stops both.
"""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

HERE = Path(__file__).resolve().parent
QUERY = 'data_processed_bytes{job="example"}'
PATIENCE = 30.0  # seconds for a server to start, and for Prometheus to have scraped

PROMETHEUS_CONFIG = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: pushgateway
    honor_labels: true  # keep the job and instance that were pushed
    static_configs:
      - targets: ["{gateway}"]
"""


def main() -> int:
    """Runs the demo; returns 0 when Prometheus answered with the 42 of the batch job."""
    prometheus = find_prometheus()
    if prometheus is None:
        print("The demo needs Prometheus: apt-get install prometheus, or run .ci/peers")
        return 1
    gateway_address, prometheus_address = free_address(), free_address()
    with tempfile.TemporaryDirectory(prefix="pushgate-demo-") as name:
        folder = Path(name)
        config = folder / "prometheus.yml"
        config.write_text(PROMETHEUS_CONFIG.format(gateway=gateway_address))
        pushgate = [
            Path(sys.executable).with_name("pushgate"),
            "serve",
            f"--web.listen-address={gateway_address}",
            f"--persistence.file={folder / 'pushgate.db'}",
        ]
        scraper = [
            prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={prometheus_address}",
        ]
        with (
            server("the gateway", pushgate, gateway_address, folder / "pushgate.log"),
            server("Prometheus", scraper, prometheus_address, folder / "prometheus.log"),
        ):
            run_the_batch_job(gateway_address)
            show_exposition(gateway_address)
            return show_answer(prometheus_address)


def run_the_batch_job(gateway: str) -> None:
    """Runs it as its own process, as cron would."""
    job = HERE / "batch_job.py"
    print(f"\n$ python examples/{job.name} {gateway}", flush=True)
    subprocess.run([sys.executable, job, gateway], check=True)  # noqa: S603 - the file beside this


def show_exposition(gateway: str) -> None:
    """Prints what the job pushed, as Prometheus will scrape it."""
    print(f"\n$ curl http://{gateway}/metrics    (what was pushed)")
    for line in get(gateway, "/metrics").splitlines():
        if "data_processed" in line or 'job="example"' in line:
            print(line)


def show_answer(prometheus: str) -> int:
    """Prints the first answer of Prometheus; returns 0 when it is 42."""
    path = f"/api/v1/query?{urllib.parse.urlencode({'query': QUERY})}"
    print(f"\nPrometheus, asked for {QUERY}:")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        result = json.loads(get(prometheus, path))["data"]["result"]
        if result:
            print(json.dumps(result[0], indent=2))
            return 0 if result[0]["value"][1] == "42" else 1
        time.sleep(0.2)
    print(f"nothing within {PATIENCE:.0f} s")
    return 1


@contextmanager
def server(title: str, command: list[object], address: str, log: Path) -> Iterator[None]:
    """Runs *command* until the block ends; it is ready when the block begins."""
    print(f"starting {title} on http://{address}", flush=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - programs named in this file
            [str(part) for part in command], stdout=output, stderr=output
        )
    try:
        wait_until_ready(process, address)
        yield
    except BaseException:
        print(f"{title} wrote:\n{log.read_text(errors='replace')}")
        raise
    finally:
        process.terminate()
        process.wait()
        print(f"stopped {title}")


def wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    """Returns when the server answers; ends the demo when it doesn't."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            get(address, "/-/ready")
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"the server on {address} did not become ready")


def get(address: str, path: str) -> str:
    """The body of a 200; raises OSError for any other answer, and for none."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != HTTPStatus.OK:
            raise OSError(f"GET {path} was answered {answer.status}")
        return answer.read().decode()
    finally:
        connection.close()


def find_prometheus() -> str | None:
    """From the PATH, else from where `.ci/peers` puts it."""
    return shutil.which("prometheus") or shutil.which(HERE.parent / ".peers" / "prometheus")


def free_address() -> str:
    """A loopback address nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
