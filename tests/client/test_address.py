import base64
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, strategies as st

from pushgate import ConfigurationError, PushGateway
from pushgate.client.address import default_job, looks_unique, parse_address, push_url

VECTORS = json.loads((Path(__file__).parent.parent / "data/client_java_vectors.json").read_text())
# What client_java makes of these is wrong: other groups, lost pairs, poisoned scrapes.
OURS = {
    "my job": "http://localhost:9091/metrics/job/my%20job",
    "": None,
    ".": "http://localhost:9091/metrics/job@base64/Lg==",
    "..": "http://localhost:9091/metrics/job@base64/Li4=",
    "~": "http://localhost:9091/metrics/job/~",
    "*": "http://localhost:9091/metrics/job/%2A",
    "l=.": "http://localhost:9091/metrics/job/j/l@base64/Lg==",
    "l=C:\\x": "http://localhost:9091/metrics/job/j/l@base64/QzpceA==",
    "l=a\\b": "http://localhost:9091/metrics/job/j/l@base64/YVxi",
    "l=x\0y": None,
    "a:b=v": None,
    "job=v": None,
    "=v": None,
    "__x=v": None,
    "@h:99999": None,
    "@http://h:1": "http://h:1/metrics/job/j",
    "@https://h:1": "https://h:1/metrics/job/j",
}


def name_of(vector):
    if vector["address"]:
        return f"@{vector['address']}"
    if vector["grouping"]:
        return "=".join(vector["grouping"][0])
    return vector["job"]


@pytest.mark.parametrize("vector", VECTORS["urls"], ids=name_of)
def test_urls_are_those_of_client_java_except_where_it_is_wrong(vector):
    expected = OURS.get(name_of(vector), vector["url"])

    def url():
        return PushGateway(
            vector["address"],
            job=vector["job"],
            grouping_key=dict(vector["grouping"]),
            properties=False,
        ).url

    if expected is None:
        with pytest.raises(ConfigurationError):
            url()
    else:
        assert url() == expected


@given(
    st.text(min_size=1).filter(lambda v: not {"\0"} & set(v) and v.isprintable()),
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), st.text("./\\ +%=~ü日")),
)
def test_every_group_can_be_read_back_from_its_url(job, labels):
    labels.pop("job", None)
    url = PushGateway(job=job, grouping_key=labels, properties=False).url
    parts = url.partition("/metrics/")[2].split("/")
    assert dict(map(read_back, parts[::2], parts[1::2])) == {"job": job, **labels}


def read_back(name, value):
    if not name.endswith("@base64"):
        return name, unquote(value)
    decoded = "" if value == "=" else base64.urlsafe_b64decode(value).decode()
    return name.removesuffix("@base64"), decoded


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("example.com:1234/context///path//", "http://example.com:1234/context/path"),
        ("https://h/", "https://h"),
        ("[::1]:9091/x", "http://[::1]:9091/x"),
        ("HTTPS://h", "https://h"),
        (" h:1/x \n", "http://h:1/x"),
    ],
)
def test_slashes_of_the_address_collapse_and_blanks_around_it_do_not_count(address, base):
    assert parse_address(address).base == base


@pytest.mark.parametrize("address", ["", "h h:1", "::", "h:x", "h:1?q", "ftp://h", "http://", "a@"])
def test_a_bad_address_is_refused_without_being_shown(address):
    with pytest.raises(ConfigurationError) as caught:
        PushGateway(f"user:hunter2@{address}", properties=False)
    assert "hunter2" not in str(caught.value)


def test_scheme_and_address_must_not_contradict_each_other():
    assert PushGateway("h:1", scheme="https", job="j", properties=False).url.startswith(
        "https://h:1"
    )
    with pytest.raises(ConfigurationError, match="drop one"):
        PushGateway("http://h:1", scheme="https", properties=False)
    with pytest.raises(ConfigurationError, match="Expecting 'http' or 'https'"):
        PushGateway("h:1", scheme="ftp", properties=False)


def test_credentials_in_the_address_are_decoded_and_appear_nowhere():
    address = parse_address("https://us%40er:p%2Fw@h:1/x")
    assert address.credentials == ("us@er", "p/w")
    assert address.base == "https://h:1/x"
    gateway = PushGateway("https://user:secret@h:1", job="j", properties=False)
    assert "secret" not in repr(gateway) + gateway.url


def test_a_gateway_without_base64_gets_percent_signs_or_a_refusal():
    assert push_url("http://h", "a/b", {}, encoding="percent") == "http://h/metrics/job/a%2Fb"
    with pytest.raises(ConfigurationError, match="cannot express"):
        push_url("http://h", "j", {"l": ""}, encoding="percent")


@pytest.mark.parametrize("labels", [{"l": None}, {"l": "\ud800"}, {"l": "a\0b"}])
def test_a_label_value_that_no_gateway_can_keep_is_refused(labels):
    with pytest.raises(ConfigurationError):
        PushGateway(grouping_key=labels, properties=False)


def test_grouping_values_become_text_and_are_sorted():
    gateway = PushGateway(job="j", grouping_key={"b": 2, "a": True}, properties=False)
    assert gateway.url.endswith("/job/j/a/True/b/2")


def test_values_that_are_new_in_each_run_are_warned_about(caplog, monkeypatch):
    key = {"run": "6f0b8f5e-5f1c-4a8e-9e4d-0f6f3a1f8b11"}
    for _ in range(2):
        PushGateway(job="j", grouping_key=key, properties=False)
    assert [record.message for record in caplog.records] == [
        "The value of 'run' looks different in each run, and the gateway keeps a group for each."
    ]
    assert looks_unique("1790000000")
    monkeypatch.setattr("os.getpid", lambda: 4711)
    assert looks_unique("4711")
    monkeypatch.setattr("os.getpid", lambda: 1)
    assert not looks_unique("1")  # in a container, and rather the number of a shard
    assert not looks_unique("db1")


@pytest.mark.parametrize("instance", ["ip", "hostname", "fqdn", "blue"])
def test_an_instance_label_is_never_a_loopback_address(instance, caplog):
    gateway = PushGateway("127.0.0.1:9091", job="j", instance=instance, properties=False)
    assert gateway.grouping_key["instance"]
    assert not gateway.grouping_key["instance"].startswith("127.")
    assert ("instance is the name of this host" in caplog.text) is (instance == "ip")


@pytest.mark.timeout(12)
@pytest.mark.parametrize("instance", ["ip", "fqdn"])
def test_an_instance_label_waits_for_no_resolver_that_hangs(instance, monkeypatch, caplog):
    answered = threading.Event()

    def hang(*_, **__):
        answered.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(socket, "gethostbyaddr", hang)
    monkeypatch.setattr("pushgate.client.address._RESOLVER_SECONDS", 0.1)
    gateway = PushGateway("gateway.example", job="j", instance=instance, properties=False)
    assert gateway.grouping_key["instance"] == socket.gethostname()
    assert not answered.is_set()
    assert "unknown" in caplog.text
    answered.set()


def test_an_instance_label_needs_no_gateway_that_can_be_resolved(monkeypatch):
    def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    for host in ("gateway.example", f"ä{'a' * 70}"):  # the latter is none in IDNA
        gateway = PushGateway(host, job="j", instance="ip", properties=False)
        assert gateway.grouping_key["instance"] == socket.gethostname()


@pytest.mark.parametrize(
    ("argv0", "expected"),
    [("nightly.py", "nightly"), ("gone.py", "unknown_job"), ("-c", "unknown_job")],
)
def test_the_default_job_is_the_script(tmp_path, monkeypatch, argv0, expected):
    (tmp_path / "nightly.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [argv0])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert default_job() == expected


def test_a_script_that_has_changed_its_directory_is_the_default_job(tmp_path):
    code = "import os; os.chdir('/')\nfrom pushgate import PushGateway; print(PushGateway().job)"
    (tmp_path / "nightly.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "nightly.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "nightly\n"


def test_the_default_job_of_a_module_is_its_name(monkeypatch):
    class Spec:
        name = "etl.nightly.__main__"

    monkeypatch.setattr(sys.modules["__main__"], "__spec__", Spec)
    assert default_job() == "etl.nightly"


@pytest.mark.parametrize("address", ["h:99999", "h:0", "https://h:65536/x"])
def test_a_port_out_of_range_is_a_clear_error(address):
    with pytest.raises(ConfigurationError, match=r"port is \d+; expecting 1 to 65535"):
        PushGateway(address, job="j", properties=False)
