"""What a gateway holds after a foreign client has pushed."""

import json
import os
import subprocess
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from tests.services import Service

# What a run of a client may take, in seconds; it includes the start of a JVM.
CLIENT_WITHIN = 30
UTF8_TEXT = "text/plain;version=1.0.0;escaping=allow-utf-8"
# Each client pushes a label with this value.
ODD_VALUE = 'a"b\\c\nd'


def run(command: list[str], **environment) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=CLIENT_WITHIN,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
    )


def succeeded(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def exposition(gateway: Service) -> str:
    request = urllib.request.Request(gateway.url + "/metrics", headers={"Accept": UTF8_TEXT})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def samples(gateway: Service, group: dict[str, str]) -> dict[tuple[str, ...], float]:
    """The pushed samples of *group*: (name, values of their own labels...) to value."""
    labels = {"instance": "", **group}
    return {
        (sample.name, *(v for k, v in sorted(sample.labels.items()) if k not in labels)): (
            sample.value
        )
        for family in text_string_to_metric_families(exposition(gateway))
        if not family.name.startswith("push_")
        for sample in family.samples
        if labels.items() <= sample.labels.items()
    }


def listed(gateway: Service) -> list[dict]:
    """The groups as the JSON API shows them."""
    return json.loads(gateway.get("/api/v1/metrics"))["data"]


def groups(gateway: Service) -> list[dict[str, str]]:
    return [group["labels"] for group in listed(gateway)]
