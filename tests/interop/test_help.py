"""What the help page says is copied from the page and run.

All but the lines for PowerShell, which cannot be installed where these tests run: of them, the
request is made that they stand for.
"""

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import services
from tests.exchange import ask
from tests.interop.stored import run, succeeded

SIZE = 'backup_size_bytes{instance="db1",job="backup"} 8.35306302261e+11'
SNIPPET = re.compile(r"<figcaption>(.*?) <button.*?<pre[^>]*>(.*?)</pre>", re.DOTALL)


@pytest.fixture(scope="module", params=["", "/pg"])
def gateway(request):
    """A gateway at the root, and one below a prefix."""
    command = [
        services.PUSHGATE,
        "serve",
        "--web.listen-address=127.0.0.1:{port}",
        f"--web.external-url=http://127.0.0.1:{{port}}{request.param}",
        "--persistence.file=",
    ]
    with services.running(command, ready=f"{request.param}/-/ready") as service:
        yield service, request.param


@pytest.fixture
def snippets(gateway) -> dict[str, str]:
    service, prefix = gateway
    path = f"{prefix}/metrics/job/backup/instance/db1"
    assert ask(service.port, "DELETE", path).status == 202
    page = service.get(f"{prefix}/help")
    return {title: html.unescape(text) for title, text in SNIPPET.findall(page)}


def pushed(gateway) -> str:
    service, prefix = gateway
    return service.get(f"{prefix}/metrics")


def curl(folder: Path, snippet: str) -> list[str]:
    services.find_curl()
    return ["/bin/sh", "-ec", snippet]


def put(url: str) -> list[str]:
    return [services.find_curl(), "--fail", "--silent", "--include", "--request", "PUT", url]


def python(folder: Path, snippet: str) -> list[str]:
    return [sys.executable, "-c", snippet]


def java(folder: Path, snippet: str) -> list[str]:
    (folder / "Backup.java").write_text(snippet)
    command = services.find_java()
    return [*command, str(folder / "Backup.java")]


def node(folder: Path, snippet: str) -> list[str]:
    command, _ = services.find_node()
    return [*command, "-e", snippet]


def go(folder: Path, snippet: str) -> list[str]:
    services.find_go_push()
    for name in ("go.mod", "go.sum"):
        shutil.copy(Path(__file__).parent / "go" / name, folder)
    (folder / "main.go").write_text(snippet)
    subprocess.run(["go", "build", "-o", "backup", "."], cwd=folder, check=True, timeout=300)
    return [str(folder / "backup")]


@pytest.mark.parametrize(
    ("title", "command"),
    [
        ("curl", curl),
        ("Python, with pushgate", python),
        ("Python, with prometheus_client", python),
        ("Java", java),
        ("Go", go),
        ("Node", node),
    ],
)
@pytest.mark.timeout(330)
def test_a_program_of_the_help_pushes_to_the_gateway(gateway, snippets, tmp_path, title, command):
    assert succeeded(
        run(command(tmp_path, snippets[title]), NODE_PATH=str(services.PEERS / "node/node_modules"))
    )
    assert SIZE in pushed(gateway)


POWERSHELL = re.compile(
    r'\$body = "([^"$]*)"\n'
    r'Invoke-RestMethod -Method Put -Uri "([^"$`]*)" -Body \$body\n',
)


@pytest.mark.parametrize("version", ["Windows PowerShell 5.1", "PowerShell 7"])
def test_the_request_that_powershell_sends_pushes_to_the_gateway(gateway, snippets, version):
    """As the documentation of Invoke-RestMethod has it, a string is sent as if it were a form.

    The .NET Framework, on which 5.1 runs, asks before it sends the body.
    """
    body, url = POWERSHELL.fullmatch(snippets["PowerShell"]).groups()
    headers = ["--header", "Content-Type: application/x-www-form-urlencoded"]
    if "5.1" in version:
        headers += ["--header", "Expect: 100-continue"]
    body = body.replace("`n", "\n")  # how PowerShell writes the end of a line in a string
    done = run([*put(url), *headers, "--data-binary", body])
    assert succeeded(done)
    assert ("HTTP/1.1 100 Continue" in done.stdout) == ("5.1" in version)
    assert SIZE in pushed(gateway)


def test_the_command_line_of_the_help_runs_a_command(gateway, snippets, tmp_path):
    backup = tmp_path / "backup.sh"
    backup.write_text("#!/bin/sh\n")
    backup.chmod(0o755)
    line = snippets["A command, as cron runs it"]
    path = f"{Path(services.PUSHGATE).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["/bin/sh", "-ec", line],
        cwd=tmp_path,
        check=True,
        timeout=30,
        env={**os.environ, "PATH": path},
    )
    assert 'batch_job_last_success_timestamp_seconds{instance="db1",job="backup"}' in pushed(
        gateway
    )


def test_prometheus_takes_the_configuration_and_the_alert_rules(snippets, tmp_path):
    promtool = services.find_promtool()
    (tmp_path / "prometheus.yml").write_text(snippets["prometheus.yml"])
    (tmp_path / "rules.yml").write_text(snippets["Alert rules"])
    for check in (("config", "prometheus.yml"), ("rules", "rules.yml")):
        assert succeeded(run([promtool, "check", check[0], str(tmp_path / check[1])]))


def test_prometheus_scrapes_with_the_configuration(gateway, snippets):
    service, prefix = gateway
    path = f"{prefix}/metrics/job/backup/instance/db1"
    assert ask(service.port, "PUT", path, b"backup_size_bytes 1\n").status == 200
    config = f"global: {{scrape_interval: 1s}}\n{snippets['prometheus.yml']}"
    with services.prometheus(config) as prometheus:
        [found] = services.query(prometheus, "backup_size_bytes")
    assert found["metric"]["job"] == "backup"


def test_every_snippet_of_the_page_has_a_test(snippets):
    assert snippets.keys() == {
        "prometheus.yml",
        "curl",
        "A command, as cron runs it",
        "Python, with pushgate",
        "Python, with prometheus_client",
        "Java",
        "Go",
        "Node",
        "PowerShell",
        "Alert rules",
    }
