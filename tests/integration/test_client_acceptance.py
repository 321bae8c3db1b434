"""What client_java's integration tests ask of a client, asked of ours: a program pushes with
each kind of connection, and a real Prometheus has to find the numbers, through either gateway.
"""

import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import urllib.parse
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest
import trustme

from tests import services
from tests.client.rogue import raw_answer, read_request, rogue
from tests.waiting import until

APP = Path(__file__).parent / "pushgateway-test-app.py"
USER, PASSWORD = "my_user", "secret_password"
# What a run of the program may take, and a scrape, in seconds.
RUN_WITHIN, SCRAPED_WITHIN = 30, 30


@dataclass
class Landscape:
    """Three gateways of one make, and the Prometheus servers that scrape them."""

    plain: int
    basicauth: int
    ssl: int
    classic: services.Service
    native: services.Service

    def address(self, scenario):
        port = {"basicauth": self.basicauth, "ssl": self.ssl}.get(scenario, self.plain)
        return f"localhost:{port}"


@pytest.fixture(scope="module", params=["go", "ours"])
def landscape(request):
    start = {"go": services.go_pushgateway, "ours": services.pushgate}[request.param]
    services.find_prometheus()
    with tempfile.TemporaryDirectory(prefix="pushgate-test-") as name, ExitStack() as stack:
        folder = Path(name)
        ports = {
            scenario: stack.enter_context(start(*flags)).port
            for scenario, flags in (
                ("plain", ()),
                ("basicauth", [f"--web.config.file={with_users(folder)}"]),
                ("ssl", [f"--web.config.file={with_tls(folder)}"]),
            )
        }
        config = scrape_config(**ports)
        yield Landscape(
            **ports,
            classic=stack.enter_context(services.prometheus(config)),
            native=stack.enter_context(
                services.prometheus(config, "--enable-feature=native-histograms")
            ),
        )


def with_users(folder):
    secret = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "users.yml").write_text(f"basic_auth_users:\n  {USER}: {secret}\n")
    return folder / "users.yml"


def with_tls(folder):
    identity = trustme.CA().issue_cert("localhost")
    identity.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    identity.private_key_pem.write_to_path(folder / "key.pem")
    text = f"tls_server_config:\n  cert_file: {folder}/cert.pem\n  key_file: {folder}/key.pem\n"
    (folder / "tls.yml").write_text(text)
    return folder / "tls.yml"


def scrape_config(plain, basicauth, ssl):
    return f"""
global:
  scrape_interval: 500ms
  scrape_timeout: 500ms
scrape_configs:
  - job_name: plain
    honor_labels: true
    static_configs: [{{targets: ["localhost:{plain}"]}}]
  - job_name: basicauth
    honor_labels: true
    basic_auth: {{username: {USER}, password: {PASSWORD}}}
    static_configs: [{{targets: ["localhost:{basicauth}"]}}]
  - job_name: ssl
    scheme: https
    honor_labels: true
    tls_config: {{insecure_skip_verify: true}}
    static_configs: [{{targets: ["localhost:{ssl}"]}}]
"""


def push(scenario, kind, address, **environment):
    return subprocess.run(
        [sys.executable, APP, scenario, kind],
        env={
            **os.environ,
            "IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS": address,
            "PUSHGATE_INSTANCE": f"{scenario}-{kind}",
            "PUSHGATE_RETRIES": "0",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN,
        check=False,
    )


def pushed(scenario, kind, address, **environment):
    done = push(scenario, kind, address, **environment)
    assert done.stdout == "Pushing metrics...\nPush successful.\n", done.stderr
    assert done.returncode == 0


def query(prometheus, expression):
    path = "/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    return until(lambda: json.loads(prometheus.get(path))["data"]["result"], SCRAPED_WITHIN)


def assert_found(prometheus, scenario, kind):
    group = f'job="pushgateway-test-app",instance="{scenario}-{kind}"'
    [duration] = query(prometheus, f"my_batch_job_duration_seconds{{{group}}}")
    assert duration["value"][1] == "0.5"
    buckets = query(prometheus, f"file_sizes_bytes_bucket{{{group}}}")
    found = [(float(b["metric"]["le"]), float(b["value"][1])) for b in buckets]
    assert sorted(found) == [(256, 0), (512, 0), (1024, 2), (2048, 3), (math.inf, 3)]


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
@pytest.mark.parametrize("scenario", ["simple", "textFormat", "basicauth", "ssl"])
def test_prometheus_finds_what_the_program_pushed(landscape, scenario, kind):
    pushed(scenario, kind, landscape.address(scenario))
    assert_found(landscape.classic, scenario, kind)


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_bearer_token_opens_the_way(landscape, kind):
    with token_proxy("right", landscape.plain) as proxy:
        address = proxy.url.removeprefix("http://")
        refused = push("bearer", kind, address, TOKEN="wrong")
        pushed("bearer", kind, address, TOKEN="right")
    assert refused.returncode == 1
    assert "PushAuthError" in refused.stderr
    assert "was 401" in refused.stderr
    assert_found(landscape.classic, "bearer", kind)


@contextmanager
def token_proxy(token, port):
    """A proxy that forwards what carries *token*."""

    def play(connection, gateway):
        request = read_request(connection, gateway)
        if request.headers.get("authorization") != f"Bearer {token}":
            connection.sendall(raw_answer(401, b"token missing or wrong", {}))
            return
        headers = {**request.headers, "connection": "close"}
        lines = [f"{request.method} {request.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        with socket.create_connection(("localhost", port)) as onward:
            onward.sendall("\r\n".join([*lines, "", ""]).encode() + request.body)
            while data := onward.recv(65536):
                connection.sendall(data)

    with rogue(play) as proxy:
        yield proxy


def test_without_credentials_the_push_is_refused(landscape):
    done = push("simple", "blocking", landscape.address("basicauth"))
    assert done.returncode == 1
    assert "PushAuthError" in done.stderr


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_prometheus_finds_the_native_histogram(landscape, kind):
    pushed("native", kind, landscape.address("native"))
    group = f'{{job="pushgateway-test-app",instance="native-{kind}"}}'
    [count] = query(landscape.native, f"histogram_count(file_sizes_bytes{group})")
    [total] = query(landscape.native, f"histogram_sum(file_sizes_bytes{group})")
    assert (count["value"][1], total["value"][1]) == ("3", "2880")
    [series] = query(landscape.native, f"file_sizes_bytes{group}")
    buckets = series["histogram"][1]["buckets"]
    bounds = [(float(low), float(high), count) for _, low, high, count in buckets]
    assert [count for *_, count in bounds] == ["1", "1", "1"]
    for (low, high, _), value in zip(bounds, (513, 814, 1553), strict=True):
        assert low < value <= high


def test_an_unknown_scenario_is_an_error():
    done = push("nonsense", "blocking", "localhost:1")
    assert done.returncode == 1
    assert done.stderr == "nonsense: Not implemented.\n"
