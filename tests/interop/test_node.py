"""prom-client pushes to our server: chunked, without Content-Type, and sometimes with gzip."""

import json

import pytest

from tests import services
from tests.exchange import ask
from tests.interop.stored import ODD_VALUE, groups, run, samples, succeeded

PUSH = services.ROOT / "tests/interop/node/push.cjs"
PUSHED = {
    ("node_rows_total", ODD_VALUE): 42,
    ("node_seconds_bucket", "1"): 1,
    ("node_seconds_bucket", "10"): 2,
    ("node_seconds_bucket", "+Inf"): 3,
    ("node_seconds_count",): 3,
    ("node_seconds_sum",): 22.5,
}


def node(method, gateway, job, encoding="identity", **labels):
    command, environment = services.find_node()
    arguments = [method, gateway.url, job, json.dumps(labels), encoding]
    return run([*command, str(PUSH), *arguments], **environment)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_all_metrics_of_a_push_arrive(gateway, encoding):
    done = node("push", gateway, encoding, encoding)

    assert succeeded(done)
    assert done.stdout == "200\n"
    assert samples(gateway, {"job": encoding}) == PUSHED


def test_a_grouping_key_may_hold_slashes_and_blanks(gateway):
    """It percent-encodes whatever it gets, slashes too, which the Go server splits at."""
    assert succeeded(node("push", gateway, "a/b c", path="/var/log dir/ü", other="ü+%"))

    assert {"job": "a/b c", "path": "/var/log dir/ü", "other": "ü+%"} in groups(gateway)


def test_push_add_leaves_the_other_families_and_push_does_not(gateway):
    assert ask(gateway.port, "PUT", "/metrics/job/both", b"other 1\n").status == 200

    assert succeeded(node("pushAdd", gateway, "both"))
    assert samples(gateway, {"job": "both"}) == {**PUSHED, ("other",): 1}
    assert succeeded(node("push", gateway, "both"))
    assert samples(gateway, {"job": "both"}) == PUSHED


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_delete_takes_the_group_away(gateway, encoding):
    assert succeeded(node("push", gateway, "gone", place="x"))
    done = node("delete", gateway, "gone", encoding, place="x")

    assert succeeded(done)
    assert done.stdout == "202\n"
    assert {"job": "gone", "place": "x"} not in groups(gateway)


def test_the_reason_of_a_refusal_reaches_the_user():
    with services.pushgate() as gateway:
        old = b"# TYPE node_seconds gauge\nnode_seconds 1\n"
        assert ask(gateway.port, "PUT", "/metrics/job/old", old).status == 200
        done = node("push", gateway, "refused")

    assert done.returncode == 1
    assert "400" in done.stderr
