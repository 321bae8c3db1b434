"""client_golang's push package pushes to our server."""

import pytest

from tests import services
from tests.exchange import ask
from tests.interop.stored import ODD_VALUE, groups, listed, run, samples, succeeded

# What go/main.go observes is 0.5, 2 and 20, and 7 for the summary.
PUSHED = {
    ("go_client_rows_total", ODD_VALUE): 42,
    ("go_client_seconds_bucket", "1"): 1,
    ("go_client_seconds_bucket", "10"): 2,
    ("go_client_seconds_bucket", "+Inf"): 3,
    ("go_client_seconds_count",): 3,
    ("go_client_seconds_sum",): 22.5,
    ("go_client_sizes", "0.5"): 7,
    ("go_client_sizes_count",): 1,
    ("go_client_sizes_sum",): 7,
}


def push(method, gateway, job, *labels, format_="protobuf"):
    return run([services.find_go_push(), method, gateway.url, format_, job, *labels])


@pytest.mark.parametrize("format_", ["text", "protobuf"])
def test_all_metrics_of_a_push_arrive(gateway, format_):
    assert succeeded(push("push", gateway, format_, format_=format_))

    assert samples(gateway, {"job": format_}) == PUSHED


def test_a_native_histogram_arrives(gateway):
    assert succeeded(push("push", gateway, "native"))

    [group] = [group for group in listed(gateway) if group["labels"]["job"] == "native"]
    [histogram] = group["go_client_seconds"]["metrics"]
    assert [count for *_, count in histogram["buckets"]] == ["1", "1", "1"]


def test_a_grouping_key_may_hold_slashes_blanks_empty_values_and_any_letters(gateway):
    # This client writes a blank as a plus, which gateways take literally, unless there is a slash.
    labels = ("path=/var/log dir/ü", "blank=a b", "empty=", "other=ü+%")

    assert succeeded(push("push", gateway, "a/b c", *labels))

    assert {
        "job": "a/b c",
        "path": "/var/log dir/ü",
        "blank": "a+b",
        "empty": "",
        "other": "ü+%",
    } in groups(gateway)


def test_add_leaves_the_other_families_and_push_does_not(gateway):
    assert ask(gateway.port, "PUT", "/metrics/job/both", b"other 1\n").status == 200

    assert succeeded(push("add", gateway, "both"))
    assert samples(gateway, {"job": "both"}) == {**PUSHED, ("other",): 1}
    assert succeeded(push("push", gateway, "both"))
    assert samples(gateway, {"job": "both"}) == PUSHED


def test_delete_takes_the_group_away(gateway):
    assert succeeded(push("push", gateway, "gone", "path=a/b"))
    assert succeeded(push("delete", gateway, "gone", "path=a/b"))

    assert {"job": "gone", "path": "a/b"} not in groups(gateway)


def test_unchecked_pushes_count_as_success():
    with services.pushgate("--push.disable-consistency-check") as gateway:
        assert succeeded(push("push", gateway, "unchecked"))

        assert samples(gateway, {"job": "unchecked"}) == PUSHED


def test_the_reason_of_a_refusal_reaches_the_user():
    with services.pushgate() as gateway:
        assert (
            ask(gateway.port, "PUT", "/metrics/job/old", b"go_client_sizes_sum 1\n").status == 200
        )
        done = push("push", gateway, "refused")

    assert done.returncode == 1
    assert "unexpected status code 400" in done.stderr
    assert "go_client_sizes_sum" in done.stderr
