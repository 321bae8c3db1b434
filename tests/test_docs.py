"""The documentation: its links lead somewhere, and its examples do what the pages say."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pushgate.server.settings import parse
from tests import pages, services
from tests.services import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)
CODE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    found = LINK.findall(CODE.sub("", page.read_text()))
    return [link for link in found if not link.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of *page*, as code hosts and the site make them."""
    headings = HEADING.findall(CODE.sub("", page.read_text()))
    plain = [re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
        # The site has nothing else.
        assert page.parent.name != "docs" or target.is_relative_to(ROOT / "docs"), link


def test_every_page_is_in_the_navigation_once():
    text = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    named = sorted(re.findall(r"[\w-]+\.md$", text, re.MULTILINE))
    assert named == sorted(page.name for page in PAGES if page.parent.name == "docs")


# What the pages name and we have not: scripts that do as little as possible instead.
PROGRAMS = {
    "backup.sh": 'echo "backup_bytes 42" >> "$PUSHGATE_METRICS_FILE"',
    "make": 'test "$1" = test',
    "python": 'test "$*" = "-m importer"',
    "spark-submit": 'test "$*" = features.py',
}
VARIABLES = {"IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS"}
# These pages are followed from the top to the end, with a gateway that has these flags.
FOLLOWED = {
    "cli": (),
    "consistency": (),
    "http-api": ("--web.enable-admin-api", "--web.enable-lifecycle"),
    "jobs-airflow": (),
    "jobs-celery": (),
    "jobs-ci": (),
    "jobs-cron": (),
    "jobs-kubernetes": (),
    "jobs-python": (),
    "jobs-spark": (),
    "kubernetes": (),
}
# These need more than a gateway; tests of their own run their examples.
ELSEWHERE = {
    "alerts": "test_alerts.py",
    "backup": "test_backup_docs.py",
    "client": "test_client_docs.py",
    "migration": "migration/test_docs.py",
    "python-api": "test_docstrings.py",
    "replicas": "test_replicas_docs.py",
    "reverse-proxy": "integration/test_reverse_proxies.py",
    "rules": "test_rules_docs.py",
    "secure": "test_docs.py",
    "systemd": "test_deploy_systemd.py",
    "tutorial": "test_tutorial.py",
    "web-config": "server/access/test_docs.py",
}
# What cannot run here, by what it begins with.
NOT_RUN = {
    "docker build": "needs a Docker daemon; test_container.py does the same steps",
    "docker compose": "needs a Docker daemon; test_container.py does the same steps",
    "kubectl": "needs a cluster; test_deploy_replicas.py checks the objects",
    "pip install": "the test environment is installed already; test_dist.py installs the wheel",
    "pushgate copy data/": "needs a database; server/storage/test_backup.py does the same",
    "python3 -m venv /opt": "needs root and systemd; test_deploy_systemd.py checks the units",
    "/opt/pushgate/bin/pushgate backup": "the same, by test_backup_docs.py",
}


def test_every_example_of_every_page_is_run_or_said_not_to_be():
    unused = set(NOT_RUN)
    for path in ROOT.glob("docs/*.md"):
        for example in pages.examples(path.stem):
            reason = not_run(example)
            unused.discard(reason)
            assert reason or path.stem in FOLLOWED or is_run_elsewhere(path.stem, example), example
    assert not unused


def is_run_elsewhere(name: str, example: pages.Example) -> bool:
    """Whether the test of the page takes the examples of this language from it."""
    if name not in ELSEWHERE:
        return False
    test = (ROOT / "tests" / ELSEWHERE[name]).read_text()
    taken = (f'pages.blocks("{name}", "{example.language}")', f'pages.examples("{name}")')
    return example.language == "pycon" or any(each in test for each in taken)


def not_run(example: pages.Example) -> str:
    return next((start for start in NOT_RUN if example.text.startswith(start)), "")


@pytest.mark.timeout(300)  # dozens of processes, one after the other
@pytest.mark.parametrize("name", FOLLOWED)
def test_a_reader_sees_what_the_page_says(name, tmp_path):
    with services.pushgate(*FOLLOWED[name]) as gateway:
        reader = pages.Reader(tmp_path, gateway.port)
        for program, script in PROGRAMS.items():
            reader.program(program, script)
        ran = [follow(reader, example) for example in pages.examples(name)]
        assert ran


def follow(reader: pages.Reader, example: pages.Example) -> None:
    match example.language:
        case _ if not_run(example):
            pass
        case "sh" | "bash":
            reader.script(example.text, example.output, shell=example.language)
        case "console":
            reader.console(example.text)
        case "python":
            reader.python(example.text)
        case "cron":
            *_, command = example.text.split(maxsplit=5)
            reader.script(command.replace("/usr/local/bin/", ""))
        case "yaml":
            check(reader, example.text)
        case language:
            pytest.fail(f"no way to run {language}")


def check(reader: pages.Reader, text: str) -> None:
    """Let Prometheus read what is its own; run the commands of everything else."""
    document = yaml.safe_load(text)
    match document:
        case {"scrape_configs": _}:
            (reader.folder / "prometheus.yml").write_text(text)
            reader.run(services.find_promtool(), "check", "config", "prometheus.yml")
        case {"jobs": {"tests": {"steps": [_, _, step]}}}:
            assert set(step["env"]) == VARIABLES | {"PUSHGATE_BEARER_TOKEN"}
            reader.script(step["run"])
        case {"kind": "CronJob"}:
            pod = document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == {volume["name"] for volume in pod["volumes"]}
            assert {variable["name"] for variable in container["env"]} > VARIABLES
            reader.run(*container["command"])
        case {"kind": "StatefulSet"}:
            check_server(reader, document["spec"])
        case {"kind": "Service"}:
            assert document["spec"]["selector"] == {"app": "pushgate"}
        case _:
            pytest.fail("no way to check this")


def check_server(reader: pages.Reader, stateful_set: Mapping[str, Any]) -> None:
    (container,) = stateful_set["template"]["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    (claim,) = stateful_set["volumeClaimTemplates"]
    assert mount["name"] == claim["metadata"]["name"]
    settings = parse(container["args"], "pushgateway")
    assert settings.persistence_file.startswith(f"{mount['mountPath']}/")
    assert stateful_set["template"]["metadata"]["labels"] == {"app": "pushgate"}
    for probe in ("readinessProbe", "livenessProbe"):
        path = container[probe]["httpGet"]["path"]
        reader.script(f"curl --fail http://localhost:9091{path}", "OK")


def test_the_page_about_security_lets_in_whom_it_says(tmp_path):
    tokens, config, start = pages.blocks("secure", "sh")
    with services.held_port() as port:
        reader = pages.Reader(tmp_path, port)
        reader.script(tokens)
        reader.script(config)
        serve, ready = start.splitlines()
        _, *flags, _ = reader.here(serve).replace("web.yml", f"{tmp_path}/web.yml").split()
        with services.running([services.PUSHGATE, *flags, services.storage()], port=port):
            reader.script(ready)
            (console,) = pages.blocks("secure", "console")
            reader.console(console)
    (scrapes,) = pages.blocks("secure", "yaml")
    check(reader, scrapes)


def test_a_run_pushes_the_metrics_that_the_page_lists(tmp_path):
    with services.pushgate() as gateway:
        pages.Reader(tmp_path, gateway.port).run("pushgate", "run", "--job", "j", "--", "true")
        shown = set(re.findall(r"^(batch_job_\w+)\{", gateway.get("/metrics"), re.MULTILINE))
    named = set(re.findall(r"`(batch_job_\w+)`", pages.page("howto-jobs")))
    # A run that succeeds has no time of failure.
    assert named - shown == {"batch_job_last_failure_timestamp_seconds"}
    assert shown <= named
