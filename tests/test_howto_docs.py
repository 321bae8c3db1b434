"""Every example of docs/howto-jobs.md works as it stands, but for addresses and programs."""

import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import yaml

from pushgate import PushGateway, properties
from tests import services

PAGE = (services.ROOT / "docs" / "howto-jobs.md").read_text()
BIN = str(Path(sys.executable).parent)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def address(gateway) -> str:
    return f"127.0.0.1:{gateway.port}"


def ran(command: list[str], folder: Path, gateway, text: str = "") -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={
            **os.environ,
            "PATH": f"{folder}:{BIN}:{os.environ['PATH']}",
            "IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS": address(gateway),
        },
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_crontab_line(gateway, tmp_path):
    (line,) = blocks("cron")
    text = 'echo "backup_bytes 42" >> "$PUSHGATE_METRICS_FILE"'
    script = program(tmp_path / "backup.sh", text)
    command = line.split(maxsplit=5)[5].replace("/usr/local/bin/backup.sh", str(script))
    ran(["sh", "-ec", command], tmp_path, gateway)
    exposition = gateway.get("/metrics")
    assert 'backup_bytes{host="db1",instance="",job="backup"} 42' in exposition
    named = set(re.findall(r"`(batch_job_\w+)`", PAGE.partition("Without `pushgate run`")[0]))
    pushed = set(re.findall(r"^(batch_job_\w+)\{.*job=\"backup\"", exposition, re.MULTILINE))
    # A run that succeeds has no time of failure, and options add the other two.
    absent = {
        "batch_job_last_failure_timestamp_seconds",
        "batch_job_last_alive_timestamp_seconds",
        "batch_job_expected_interval_seconds",
    }
    assert named - pushed == absent


def test_commands_without_a_wrapper(gateway, tmp_path):
    (script,) = blocks("sh")
    (tmp_path / "backup.tar").write_bytes(b"x" * 7)
    program(tmp_path / "some_exporter", "echo exported 1")
    *steps, last = script.splitlines()
    ran(["sh", "-e"], tmp_path, gateway, "\n".join(steps))
    exposition = gateway.get("/metrics")
    assert 'last_backup_bytes{host="db1",instance="",job="backup"} 7' in exposition
    assert 'files{host="db1",instance="",job="backup",kind="new"} 12' in exposition
    assert 'exported{instance="",job="export"} 1' in exposition
    ran(["sh", "-e"], tmp_path, gateway, last)
    assert "last_backup_bytes" not in gateway.get("/metrics")


def python_blocks() -> dict[str, str]:
    named = {"nightly_import": "python", "warehouse_load": "airflow", "resize_image": "celery"}
    return {named[name]: text for text in blocks("python") for name in named if name in text}


def test_python(gateway, tmp_path):
    text = python_blocks()["python"].replace("gateway:9091", address(gateway))
    ran([sys.executable, "-"], tmp_path, gateway, text)
    exposition = gateway.get("/metrics")
    assert 'rows_total{instance="",job="nightly_import",table="customers"} 3' in exposition


def test_airflow(gateway, monkeypatch):
    monkeypatch.setenv("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS", address(gateway))
    properties.reload()  # an earlier test of this process may have loaded them
    names = {"task": lambda f: f, "PushGateway": PushGateway, "load_table": lambda _table: 5}
    exec(python_blocks()["airflow"], names)
    names["load"]("customers")
    properties.reload()
    expected = 'rows{instance="",job="warehouse_load",table="customers"} 5'
    assert expected in gateway.get("/metrics")


def test_celery(gateway):
    class Retry(Exception):
        pass

    celery = types.SimpleNamespace(exceptions=types.SimpleNamespace(Retry=Retry))
    app = types.SimpleNamespace(task=lambda **_options: lambda f: f)
    names = {"app": app, "celery": celery, "gateway": PushGateway(address(gateway))}
    exec(python_blocks()["celery"], names)
    names["resize_image"](None, "a.png")
    expected = 'batch_job_success{instance="",job="resize_image"} 1'
    assert expected in gateway.get("/metrics")


def test_ci(gateway, tmp_path):
    (steps, _) = map(yaml.safe_load, blocks("yaml"))
    assert steps[1]["env"].keys() == {
        "IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS",
        "PUSHGATE_BEARER_TOKEN",
    }
    program(tmp_path / "make", 'test "$1" = test')
    ran(["sh", "-ec", steps[1]["run"]], tmp_path, gateway)
    assert 'batch_job_success{branch="main",instance="",job="ci_tests"} 1' in gateway.get(
        "/metrics"
    )


def test_kubernetes(gateway, tmp_path):
    (_, job) = map(yaml.safe_load, blocks("yaml"))
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    program(tmp_path / "python", 'test "$*" = "-m importer"')
    ran(["sh", "-ec", shlex.join(container["command"])], tmp_path, gateway)
    assert 'batch_job_success{instance="",job="nightly-import"} 1' in gateway.get("/metrics")
