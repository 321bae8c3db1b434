"""Every example in the README runs, against our server, and does what it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import services

ROOT = Path(__file__).parent.parent
_blocks = re.findall(
    r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
)


def blocks(language):
    return [text for kind, text in _blocks if kind == language]


def ran(command, text, gateway):
    """Run the example *text* as it stands, but for the address."""
    bin_folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        command,
        input=text.replace("localhost:9091", f"127.0.0.1:{gateway.port}"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", blocks("python"))
def test_a_push_in_five_lines(example, gateway):
    ran([sys.executable, "-"], example, gateway)
    assert 'data_processed_bytes{instance="",job="example"} 42' in gateway.get("/metrics")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_pushing_reading_and_deleting_with_curl(gateway):
    [example] = [text for text in blocks("sh") if "curl" in text]
    shown = ran(["sh", "-e"], example, gateway)
    assert 'rows_imported{instance="db1",job="import"} 3140' in shown
    assert "rows_imported" not in gateway.get("/metrics")


def test_pushing_around_a_command(gateway):
    [example] = [text for text in blocks("sh") if "pushgate run" in text]
    ran(["sh", "-e"], example, gateway)
    assert 'job="backup"' in gateway.get("/metrics")


def test_the_scrape_config_keeps_the_pushed_labels():
    config, _ = map(yaml.safe_load, blocks("yaml"))
    assert config["scrape_configs"][0]["honor_labels"] is True


def test_promtool_takes_the_alert_rule(tmp_path):
    _, rules = blocks("yaml")
    (tmp_path / "rules.yml").write_text(rules)
    command = [services.find_promtool(), "check", "rules", "rules.yml"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=30)


def test_the_make_targets_exist():
    named = re.findall(r"^make (\w+)", "\n".join(blocks("")), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert named == ["run", "test"]
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in named)


def test_the_pages_it_names_exist():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
