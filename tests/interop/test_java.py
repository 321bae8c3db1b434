"""client_java's PushGateway, and the HTTP client of the JDK, push to our server."""

import bcrypt
import pytest

from tests import services
from tests.exchange import ask
from tests.interop.stored import ODD_VALUE, groups, listed, run, samples, succeeded

FORMATS = ["PROMETHEUS_TEXT", "PROMETHEUS_PROTOBUF"]
# What java/src/main/java/Push.java observes is 0, 0.5, 2, 2, 20 and 300.
PUSHED = {
    ("java_rows_total", ODD_VALUE): 42,
    ("java.größe",): 1.5,
    ("java_seconds_bucket", "1"): 2,
    ("java_seconds_bucket", "10"): 4,
    ("java_seconds_bucket", "+Inf"): 6,
    ("java_seconds_count",): 6,
    ("java_seconds_sum",): 324.5,
    ("java_sizes", "0.5"): 2,
    ("java_sizes_count",): 6,
    ("java_sizes_sum",): 324.5,
    ("java_build_info", "1.2"): 1,
}


def java(
    method, gateway, job, *labels, format_="PROMETHEUS_PROTOBUF", escaping="ALLOW_UTF8", **env
):
    address = f"127.0.0.1:{gateway.port}"
    return run(
        [*services.find_java(), "Push", method, address, format_, escaping, job, *labels], **env
    )


@pytest.mark.parametrize("format_", FORMATS)
def test_all_metrics_of_a_push_arrive(gateway, format_):
    assert succeeded(java("push", gateway, format_, format_=format_))

    assert samples(gateway, {"job": format_}) == PUSHED


@pytest.mark.parametrize("format_", FORMATS)
def test_names_are_escaped_for_a_gateway_without_utf8_names(format_):
    with services.pushgate() as gateway:
        assert succeeded(
            java("push", gateway, "j", "ä.x=y", format_=format_, escaping="UNDERSCORE_ESCAPING")
        )

        found = samples(gateway, {"job": "j"})
        assert any(name == "java_gr__e" for name, *_ in found)
        assert len(found) == len(PUSHED)


def test_a_grouping_key_may_hold_slashes_blanks_empty_values_and_any_letters(gateway):
    # This client writes a blank as a plus, which gateways take literally, unless there is a slash.
    labels = ("path=/var/log dir/ü", "blank=a b", "empty=", "ä.x=ü+%")

    assert succeeded(java("push", gateway, "a/b c", *labels))

    assert {
        "job": "a/b c",
        "path": "/var/log dir/ü",
        "blank": "a+b",
        "empty": "",
        "ä.x": "ü+%",
    } in groups(gateway)


def test_a_native_histogram_arrives(gateway):
    assert succeeded(java("push", gateway, "native"))

    [group] = [group for group in listed(gateway) if group["labels"]["job"] == "native"]
    [histogram] = group["java_seconds"]["metrics"]
    buckets = [(float(low), float(high), count) for _, low, high, count in histogram["buckets"]]
    assert sorted(int(count) for *_, count in buckets) == [1, 1, 1, 1, 2]
    assert all(
        any(low <= value <= high for low, high, _ in buckets) for value in (0, 0.5, 2, 20, 300)
    )


def test_push_add_leaves_the_other_families_and_push_does_not(gateway):
    old = b"other 1\n# TYPE java_build_info gauge\njava_build_info 7\n"
    assert ask(gateway.port, "PUT", "/metrics/job/both", old).status == 200

    assert succeeded(java("add", gateway, "both"))
    assert samples(gateway, {"job": "both"}) == {**PUSHED, ("other",): 1}
    assert succeeded(java("push", gateway, "both"))
    assert samples(gateway, {"job": "both"}) == PUSHED


def test_delete_takes_the_group_away(gateway):
    assert succeeded(java("push", gateway, "gone", "path=a/b"))
    assert succeeded(java("delete", gateway, "gone", "path=a/b"))

    assert {"job": "gone", "path": "a/b"} not in groups(gateway)


def test_the_reason_of_a_refusal_reaches_the_user():
    with services.pushgate() as gateway:
        assert ask(gateway.port, "PUT", "/metrics/job/old", b"java_sizes_sum 1\n").status == 200
        done = java("push", gateway, "refused", escaping="UNDERSCORE_ESCAPING")

    assert done.returncode == 1
    assert "400" in done.stderr
    assert "java_sizes_sum" in done.stderr


def test_basic_auth_of_a_web_config(tmp_path):
    secret = bcrypt.hashpw("pass:wörd".encode(), bcrypt.gensalt(4)).decode()
    config = tmp_path / "web.yml"
    config.write_text(f"basic_auth_users:\n  user: {secret}\nexempt_health_endpoints: true\n")
    with services.pushgate(f"--web.config.file={config}") as gateway:
        wrong = java("push", gateway, "auth", escaping="UNDERSCORE_ESCAPING", PUSH_USER="user:nope")
        right = java(
            "push", gateway, "auth", escaping="UNDERSCORE_ESCAPING", PUSH_USER="user:pass:wörd"
        )

    assert wrong.returncode == 1
    assert "401" in wrong.stderr
    assert succeeded(right)


@pytest.mark.parametrize("size", [100, 1_000_000])
def test_the_jdks_client_that_offers_http2_is_served_with_http1(gateway, size):
    url = f"{gateway.url}/metrics/job/jdk{size}"

    done = run([*services.find_java(), "Put", url, str(size)])

    assert succeeded(done)
    assert done.stdout.splitlines() == ["HTTP_1_1 200", "HTTP_1_1 200"]
    assert samples(gateway, {"job": f"jdk{size}"}) == {("jdk_client",): 1}
