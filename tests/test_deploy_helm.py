"""The Helm chart in deploy/helm: what it renders is valid, and its flags and probes fit the server.

No cluster is needed: `helm` renders, and the schemas of Kubernetes come with kubernetes-validate.
"""

import json
import re
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from pushgate import __version__
from pushgate.server.settings import parse
from tests import services
from tests.exchange import ask

CHART = services.ROOT / "deploy" / "helm" / "pushgate"
VALUES = sorted((CHART / "ci").glob("*.yaml"))
KUBERNETES = "1.33"
# Its files alone: to import it takes longer than all of these tests.
SCHEMAS = Path(find_spec("kubernetes_validate").origin).with_name("kubernetes-json-schema")
# Kinds that an operator brings: kubernetes-validate does not know them.
OF_OPERATORS = {"ServiceMonitor", "HTTPRoute"}
SECOND = 10**9  # of settings, in nanoseconds
URL = "PUSHGATE_PERSISTENCE_URL"
every_file = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)


def helm(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = services.found("PUSHGATE_TEST_HELM", "helm", "Helm")
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@cache
def template(*options: object) -> subprocess.CompletedProcess[str]:
    return helm("template", "example", CHART, "--kube-version", KUBERNETES, *options)


def rendered(*options: object) -> list[dict]:
    """The objects of the chart, installed as the release `example`."""
    done = template(*options)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def strict_schema(name: str) -> dict:
    """One that takes no field that it does not know."""
    return json.loads((SCHEMAS / f"v{KUBERNETES}.0-local-strict" / f"{name}.json").read_text())


@cache
def definitions() -> jsonschema_rs.Registry:
    shared = strict_schema("_definitions")
    return jsonschema_rs.Registry([(shared["$id"], shared)])


@cache
def validator(kind: str, api_version: str) -> jsonschema_rs.Draft202012Validator:
    group, _, version = api_version.rpartition("/")
    name = "-".join(filter(None, (kind.lower(), group.partition(".")[0], version)))
    return jsonschema_rs.Draft202012Validator(strict_schema(name), registry=definitions())


def refused(*options: object) -> str:
    done = template(*options)
    assert done.returncode != 0
    return done.stderr


def one(objects: list[dict], *kinds: str) -> dict:
    (found,) = (each for each in objects if each["kind"] in kinds)
    return found


def pod(objects: list[dict]) -> dict:
    return one(objects, "Deployment", "StatefulSet")["spec"]["template"]["spec"]


def container(objects: list[dict]) -> dict:
    (found,) = (each for each in pod(objects)["containers"] if each["name"] == "pushgateway")
    return found


def paths(values: dict, *above: str) -> Iterator[str]:
    """The names of all values, as `--set` spells them."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from paths(value, *above, name)
        else:
            yield ".".join((*above, name))


@every_file
def test_helm_finds_nothing_to_complain_about(values):
    done = helm("lint", "--strict", CHART, "--values", values)
    assert done.returncode == 0, done.stdout


@every_file
def test_every_object_fits_the_schema_of_kubernetes(values):
    objects = rendered("--values", values)
    for each in objects:
        if each["kind"] not in OF_OPERATORS:
            validator(each["kind"], each["apiVersion"]).validate(each)
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len({*names})


@every_file
def test_the_server_takes_the_arguments(values):
    objects = rendered("--values", values)
    found = container(objects)
    asked = parse(found.get("args", []), "pushgateway")
    (port,) = found["ports"]
    assert asked.web_listen_address == (f":{port['containerPort']}",)
    files = [each.partition("=")[2] for each in found.get("args", []) if "file=" in each]
    mounts = {each["mountPath"] for each in found.get("volumeMounts", [])}
    assert {str(Path(file).parent) for file in files} <= mounts


@every_file
def test_every_mount_has_its_volume(values):
    objects = rendered("--values", values)
    claims = one(objects, "Deployment", "StatefulSet")["spec"].get("volumeClaimTemplates", [])
    volumes = [each["name"] for each in pod(objects).get("volumes", [])]
    volumes += [each["metadata"]["name"] for each in claims]
    assert sorted(each["name"] for each in container(objects).get("volumeMounts", [])) == sorted(
        volumes
    )


@every_file
def test_selectors_find_the_pods(values):
    objects = rendered("--values", values)
    workload = one(objects, "Deployment", "StatefulSet")["spec"]
    labels = workload["template"]["metadata"]["labels"].items()
    assert workload["selector"]["matchLabels"].items() <= labels
    assert one(objects, "Service")["spec"]["selector"].items() <= labels


@pytest.mark.parametrize(
    "values",
    [path for path in VALUES if path.stem != "existing-secret"],
    ids=lambda path: path.stem,
)
def test_a_server_with_the_arguments_is_pushed_to_and_scraped(values, tmp_path, request):
    """Its files are below a directory of the test, and its port is one that is free."""
    objects = rendered("--values", values)
    found = container(objects)
    for mount in found.get("volumeMounts", []):
        (tmp_path / mount["mountPath"].lstrip("/")).mkdir(parents=True)
    if web := mounted_secret(objects):
        (tmp_path / "etc/pushgate/web-config.yaml").write_text(web)
    arguments = [
        each.replace("=/", f"={tmp_path}/") if "file=" in each else each
        for each in found.get("args", [])
        if not each.startswith("--web.listen-address")
    ]
    variables = {}
    if URL in [each["name"] for each in found.get("env", [])]:
        cluster = request.getfixturevalue("postgres")
        variables[URL] = cluster.url_of(cluster.database())
    headers = {"Authorization": f"Basic {b64encode(b'jobs:secret').decode()}"} if web else {}
    with services.serving(*arguments, environment=variables) as server:
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert ask(server.port, "GET", found[kind]["httpGet"]["path"]).status == 200
        assert ask(server.port, "PUT", "/metrics/job/j", b"rows 3\n", headers).status == 200
        scrape = ask(server.port, "GET", "/metrics", headers=headers)
        assert b'rows{instance="",job="j"} 3' in scrape.body
        assert ask(server.port, "GET", "/metrics").status == (401 if web else 200)


def mounted_secret(objects: list[dict]) -> str:
    """The web configuration that the pod reads, if the chart made one."""
    texts = [each["stringData"] for each in objects if each["kind"] == "Secret"]
    return next((text["web-config.yaml"] for text in texts if "web-config.yaml" in text), "")


def test_probes_only_connect_where_a_password_may_be_asked():
    file = CHART / "ci" / "existing-secret.yaml"
    assert container(rendered("--values", file))["readinessProbe"]["tcpSocket"] == {"port": 9091}
    exempts = "webConfiguration.existingSecret.exemptsHealthEndpoints=true"
    probe = container(rendered("--values", file, "--set", exempts))["readinessProbe"]
    assert probe["httpGet"]["path"] == "/-/ready"
    own = '--set-json=readiness.probe={"httpGet": null, "exec": {"command": ["true"]}}'
    assert container(rendered("--values", file, own))["readinessProbe"]["exec"]


def test_more_replicas_need_a_database():
    assert "replicaCount is 2, but more than one replica needs a database" in refused(
        "--set", "replicaCount=2"
    )
    assert refused("--set", "replicaCount=2,runAsStatefulSet=true,persistentVolume.enabled=true")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("postgres.existingSecret.name=s,persistentVolume.enabled=true", "leave out one of them"),
        ("strategy.type=RollingUpdate,persistentVolume.enabled=true", "leave strategy out"),
        ("networkPolicy.allowAll=false", "neither allowAll nor customSelectors"),
        (f"webConfiguration.basicAuthUsers.jobs={'é' * 37}", "the password of jobs in webConf"),
        ("ingress.enabled=true", "ingress.enabled needs ingress.hosts"),
        ("replicaCounts=2", "replicaCounts"),
        ("podAntiAffinity=strong", "podAntiAffinity"),
        ("webConfiguration.basicAuthUser.a=b", "basicAuthUser"),
    ],
)
def test_what_cannot_work_is_refused(values, message):
    assert message in refused("--set", values)


def test_one_replica_ends_before_the_next_begins_and_more_overlap():
    def strategy(*options: object) -> str:
        return one(rendered(*options), "Deployment")["spec"]["strategy"]["type"]

    assert strategy("--set", "persistentVolume.enabled=true") == "Recreate"
    assert strategy("--values", CHART / "ci" / "replicas.yaml") == "RollingUpdate"


def test_a_claim_has_its_labels_and_annotations_whoever_makes_it():
    asked = {"enabled": True, "annotations": {"backup": "nightly"}}
    values = json.dumps(asked), json.dumps({"tier": "data"})
    options = [f"--set-json=persistentVolume={values[0]},persistentVolumeLabels={values[1]}"]
    claim = one(rendered(*options), "PersistentVolumeClaim")
    stateful = one(rendered(*options, "--set=runAsStatefulSet=true"), "StatefulSet")["spec"]
    (template,) = stateful["volumeClaimTemplates"]
    for metadata in (claim["metadata"], template["metadata"]):
        assert metadata["annotations"] == {"backup": "nightly"}
        assert metadata["labels"]["tier"] == "data"
    assert template["metadata"]["name"] == "data"
    assert template["spec"] == claim["spec"]


def test_a_stop_has_the_time_it_may_take():
    objects = rendered("--values", CHART / "ci" / "replicas.yaml")
    found = container(objects)
    pause = int(found["lifecycle"]["preStop"]["exec"]["command"][1]) * SECOND
    shutdown = parse(found.get("args", []), "pushgateway").web_shutdown_timeout
    assert pause + shutdown < pod(objects)["terminationGracePeriodSeconds"] * SECOND


def test_the_pod_runs_as_the_image_does():
    dockerfile = (services.ROOT / "Dockerfile").read_text()
    objects = rendered()
    found, context = container(objects), pod(objects)["securityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in dockerfile
    assert f"EXPOSE {found['ports'][0]['containerPort']}\n" in dockerfile
    assert f"WORKDIR {found['volumeMounts'][0]['mountPath']}\n" in dockerfile
    assert "command" not in found
    assert found["securityContext"]["readOnlyRootFilesystem"]
    assert found["image"] == f"pushgate:{__version__}"


def test_the_readme_and_the_schema_have_every_value():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    readme = (CHART / "README.md").read_text()
    tops = {path.partition(".")[0] for path in paths(values)}
    cells = re.findall(r"^\| (`[^|]+`) \|", readme, re.MULTILINE)
    listed = {name.partition(".")[0] for cell in cells for name in re.findall(r"`(.+?)`", cell)}
    assert listed == tops
    assert {*yaml.safe_load((CHART / "values.schema.json").read_text())["properties"]} == tops
    of_kubernetes = ("probe", "securityContext", "containerSecurityContext", "route.main.matches")
    names = [path for path in paths(values) if not any(each in path for each in of_kubernetes)]
    assert [name for name in names if f"`{name.rpartition('.')[2]}`" not in readme] == []


def test_the_values_for_the_other_chart_name_this_version_and_flags_that_exist():
    file = CHART.parent / "values-community-chart.yaml"
    values = yaml.safe_load(file.read_text())
    assert values["image"]["tag"] == __version__
    assert parse(values["extraArgs"], "pushgateway").persistence_file == "/data/pushgate.db"
    assert rendered("--values", file)  # its names are those of our chart
