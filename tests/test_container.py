"""Dockerfile, step by step in an empty root, and what it makes, run as a container is.

This needs no daemon: it carries out the instructions of the file with `unshare` and `chroot`. The
base is the /usr of this machine, with its Python, instead of the image that FROM names. So it shows
that the steps work, and that the server runs from what they leave, as user 65534 on a read-only
root. It does not show that the named images can be had, nor anything about layers.
"""

import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from pushgate.server.settings import parse
from tests import services
from tests.exchange import ask

DOCKERFILE = (services.ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((services.ROOT / "compose.yaml").read_text())
STEPS = [line.split(" ", 1) for line in DOCKERFILE.splitlines() if line and line[0] != "#"]
USER = "65534:65534"
# What a root has of this machine: its programs, and the way to the package index.
BASE = ("usr", "etc/ssl", "etc/pip.conf", "etc/resolv.conf", "etc/hosts", "opt/wheels")
# sh -c ENTER sh ROOT DATA USER COMMAND…: with a namespace of its own, and DATA, if any, as /data.
ENTER = f"""
set -e
root=$1 data=$2 user=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
for path in {" ".join(BASE)}; do
  if [ -e "/$path" ]; then mount --bind "/$path" "$root/$path"; fi
done
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
limits=
if [ -n "$data" ]; then
  limits="--no-new-privs --inh-caps=-all --bounding-set=-all"
  mount -o remount,bind,ro "$root"
  mount --bind "$data" "$root/data"
fi
exec chroot "$root" setpriv --reuid="${{user%:*}}" --regid="${{user#*:}}" --clear-groups \
  $limits env -i "$@"
"""


def empty_root(folder: Path) -> Path:
    for path in BASE:
        target = folder / path
        if Path("/", path).is_dir():
            target.mkdir(parents=True)
        elif Path("/", path).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    for name in ("proc", "dev", "tmp"):
        (folder / name).mkdir()
    for name in ("bin", "sbin", "lib", "lib64"):
        (folder / name).symlink_to(f"usr/{name}")
    return folder


class Stage:
    """A stage of the Dockerfile: its root, and what the instructions set for later ones."""

    def __init__(self, root: Path) -> None:
        self.root = empty_root(root)
        self.work, self.user = "/", "0:0"
        self.variables = {"PATH": "/usr/bin:/bin", "HOME": "/tmp"}
        self.set: dict[str, str] = {}

    def command(self, argv: list[str], data: str = "") -> list[str]:
        """What runs *argv* in this stage; with the directory *data* as a container's volume."""
        network = {
            n: v for n, v in os.environ.items() if n.startswith("PIP_") or "_PROXY" in n.upper()
        }
        variables = [f"{name}={value}" for name, value in {**network, **self.variables}.items()]
        inside = ["sh", "-c", f'cd {self.work}; exec "$@"', "sh", *argv]
        return [
            *("unshare", "--mount", "sh", "-c", ENTER, "sh"),
            *(str(self.root), data, self.user, *variables, *inside),
        ]

    def run(self, line: str) -> None:
        done = subprocess.run(
            self.command(["sh", "-ec", line]),
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def copy(self, sources: list[Path], target: str) -> None:
        to = self.root / str(Path(self.work, target)).lstrip("/")
        for source in sources:
            if source.is_dir():
                shutil.copytree(source, to, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.copy2(source, to)


def built(folder: Path) -> Stage:
    """The last stage, after all instructions."""
    stages: dict[str, Stage] = {}
    stage = None
    for instruction, rest in STEPS:
        match instruction, rest.split():
            case "FROM", ["$BASE", *name]:
                stage = stages[name[-1] if name else ""] = Stage(folder / f"stage{len(stages)}")
            case "WORKDIR", [path]:
                stage.work = path
                (stage.root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY", [option, source, target] if option.startswith("--from="):
                other = stages[option.removeprefix("--from=")].root
                stage.copy([other / source.lstrip("/")], target)
            case "COPY", [*sources, target]:
                stage.copy([services.ROOT / source for source in sources], target)
            case "RUN", _:
                stage.run(rest)
            case "ENV", pairs:
                stage.variables |= dict(pair.split("=", 1) for pair in pairs)
            case "USER", [user]:
                stage.user = user
            case (("ARG" | "LABEL" | "EXPOSE" | "HEALTHCHECK" | "ENTRYPOINT"), _):
                if stage is not None:
                    stage.set[instruction] = rest
            case _:
                raise NotImplementedError(instruction)
    return stage


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can make a root")
    folder = tmp_path_factory.mktemp("image")
    folder.chmod(0o755)
    for parent in folder.parents[:2]:
        parent.chmod(0o755)  # the user of the image is not that of the test
    yield built(folder)
    shutil.rmtree(folder)


@contextmanager
def container(image: Stage, volume: Path, *arguments: str):
    """A server as `docker run --read-only` starts it."""
    entrypoint = json.loads(image.set["ENTRYPOINT"])
    address = "--web.listen-address=127.0.0.1:{port}"
    argv = image.command([*entrypoint, address, *arguments], str(volume))
    with services.running(argv) as server:
        yield server


@pytest.fixture
def volume(tmp_path):
    """An empty volume: docker gives it the owner that /data has in the image."""
    (tmp_path / "volume").mkdir()
    os.chown(tmp_path / "volume", 65534, 65534)
    return tmp_path / "volume"


@pytest.mark.timeout(900)
def test_the_steps_leave_a_server_of_the_right_user(image):
    assert image.user == USER
    assert image.work == "/data"
    data = (image.root / "data").stat()
    assert (data.st_uid, data.st_gid) == (65534, 65534)
    assert not (image.root / "opt/build").exists()
    found = [path for path in image.root.joinpath("opt/pushgate").rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o005 for path in found)


@pytest.mark.timeout(900)
def test_a_container_keeps_its_metrics_on_a_read_only_root(image, volume):
    with container(image, volume, "--persistence.file=/data/pushgate.db") as server:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        assert re.search(r"^Uid:\s+65534\s+65534", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        assert ask(server.port, "PUT", "/metrics/job/j", b"rows 3\n").status == 200
        assert server.stop() == 0
    assert (volume / "pushgate.db").stat().st_uid == 65534
    with container(image, volume, "--persistence.file=/data/pushgate.db") as server:
        assert 'rows{instance="",job="j"} 3' in server.get("/metrics")


@pytest.mark.timeout(900)
def test_the_arguments_are_those_of_the_go_image(image, volume):
    with container(
        image,
        volume,
        "--web.enable-lifecycle",
        "--web.enable-admin-api",
        "--persistence.interval=5m",
    ) as server:
        ask(server.port, "PUT", "/metrics/job/j", b"rows 3\n")
        assert (volume / "data" / "pushgate.db").exists()
        assert ask(server.port, "PUT", "/-/quit").status == 200
        assert server.process.wait(services.STOPPED_WITHIN) == 0


@pytest.mark.timeout(900)
def test_the_health_check_follows_the_server(image, volume):
    _, _, argv = image.set["HEALTHCHECK"].partition(" CMD ")
    with container(image, volume) as server:
        check = [part.replace("9091", str(server.port)) for part in json.loads(argv)]
        command = image.command(check, str(volume))
        assert subprocess.run(command, timeout=30, check=False).returncode == 0
    assert subprocess.run(command, timeout=30, check=False, stderr=subprocess.DEVNULL).returncode


def test_the_context_has_what_the_steps_copy():
    ignored = (services.ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for instruction, rest in STEPS
        if instruction == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == allowed
    assert ignored[0] == "*"


def test_the_services_of_compose_fit_each_other(tmp_path):
    pushgate, prometheus = (COMPOSE["services"][name] for name in ("pushgate", "prometheus"))
    assert parse(pushgate["command"], "pushgateway").persistence_file == "/data/pushgate.db"
    assert pushgate["read_only"]
    volumes = [*pushgate["volumes"], *prometheus["volumes"]]
    assert {volume.partition(":")[0] for volume in volumes} == {*COMPOSE["volumes"]}
    rules = services.ROOT / COMPOSE["configs"]["rules"]["file"]
    config = COMPOSE["configs"]["prometheus"]["content"]
    with services.pushgate() as gateway:
        config = config.replace("pushgate:9091", f"127.0.0.1:{gateway.port}").replace("15s", "1s")
        config = config.replace("pushgate.rules.yml", str(rules))
        with services.prometheus(config) as service:
            assert services.query(service, 'up{job="pushgate"}')[0]["value"][1] == "1"
            assert services.query(service, "instance:pushgate_series:limit_ratio")
