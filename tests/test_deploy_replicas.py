"""The examples of docs/replicas.md in deploy/ are valid, as far as one can tell here."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pushgate.server.settings import parse
from tests import services
from tests.exchange import ask

DEPLOY = services.ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "pushgate@.service"


def documents(name: str) -> list[dict]:
    return [*yaml.safe_load_all((DEPLOY / name).read_text())]


def settings(command: list[str]):
    """What the flags of *command* ask for; they have to exist."""
    program, serve, *flags = command
    assert (Path(program).name, serve) == ("pushgate", "serve")
    return parse(flags, "pushgate")


def test_replicas_of_the_unit_share_a_port_and_have_one_of_their_own():
    (start,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text(), re.MULTILINE)
    asked = settings(start.replace("%i", "1").split())
    assert asked.web_reuse_port
    assert asked.web_listen_address == (":9091", "127.0.0.1:9101")
    assert "\nType=notify\n" in UNIT.read_text()


def test_systemd_understands_the_unit(tmp_path):
    program = shutil.which("systemd-analyze") or pytest.skip("no systemd-analyze")
    # What the unit starts and runs as is not on this machine.
    text = UNIT.read_text().replace("/opt/pushgate/bin/pushgate", services.PUSHGATE)
    text = re.sub(r"^User=.*\n", "", text, flags=re.MULTILINE)
    (tmp_path / "pushgate@.service").write_text(text)
    unit = tmp_path / "pushgate@1.service"
    unit.symlink_to("pushgate@.service")
    done = subprocess.run(
        [program, "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_kubernetes_objects_fit_each_other():
    deployment, service, budget = documents("kubernetes/replicas.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["selector"] == budget["spec"]["selector"]["matchLabels"] == labels
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert settings(container["command"] + container["args"]).web_listen_address == (
        f":{port['containerPort']}",
    )
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert [each["name"] for each in container["env"]] == ["PUSHGATE_PERSISTENCE_URL"]


def test_its_probes_ask_what_the_server_answers():
    (container,) = documents("kubernetes/replicas.yaml")[0]["spec"]["template"]["spec"][
        "containers"
    ]
    with services.pushgate() as server:
        for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
            assert server.get(container[kind]["httpGet"]["path"]) == "OK"


def test_the_services_of_compose_fit_each_other():
    (compose,) = documents("compose/replicas.yaml")
    proxy, pushgate, database = (
        compose["services"][name] for name in ("proxy", "pushgate", "database")
    )
    assert settings(pushgate["command"]).web_listen_address == (":9091",)
    secret = database["environment"]
    url = "postgresql://{POSTGRES_USER}:{POSTGRES_PASSWORD}@database/{POSTGRES_USER}"
    assert pushgate["environment"]["PUSHGATE_PERSISTENCE_URL"] == url.format(**secret)
    assert "ports" not in pushgate  # three containers cannot have one port of the machine
    assert [each["source"] for each in proxy["configs"]] == [*compose["configs"]]


def test_haproxy_understands_its_configuration(tmp_path):
    program = services.found("PUSHGATE_TEST_HAPROXY", "haproxy", "HAProxy")
    (compose,) = documents("compose/replicas.yaml")
    file = tmp_path / "haproxy.cfg"
    file.write_text(compose["configs"]["haproxy"]["content"])
    done = subprocess.run(
        [program, "-c", "-f", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_haproxy_hands_a_push_on_while_a_replica_is_gone(tmp_path):
    program = services.found("PUSHGATE_TEST_HAPROXY", "haproxy", "HAProxy")
    (compose,) = documents("compose/replicas.yaml")
    template, file = tmp_path / "template", tmp_path / "haproxy.cfg"
    with services.pushgate() as gone, services.pushgate() as stays:
        servers = "".join(f"    server s{to.port} 127.0.0.1:{to.port}\n" for to in (gone, stays))
        content = re.sub(
            r" +server-template .*\n", servers, compose["configs"]["haproxy"]["content"]
        )
        template.write_text(re.sub(r"^resolvers .*\n.*\n", "", content, flags=re.MULTILINE))
        start = f"sed s/:9091/127.0.0.1:$1/ {template} > {file}; exec {program} -db -f {file}"
        with services.running(["sh", "-c", start, "haproxy", "{port}"]) as proxy:
            gone.kill()
            answers = [ask(proxy.port, "PUT", "/metrics/job/j", b"m 1\n") for _ in range(4)]
        assert [answer.status for answer in answers] == [200] * 4
