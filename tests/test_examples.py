"""Every example runs, and sends what it says."""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from tests.client.rogue import answer, rogue
from tests.metrics_proto import decode

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name, *arguments, stdin=""):
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )


def ran(name, *arguments, stdin=""):
    done = run(name, *arguments, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, "")


# demo.py needs no arguments, but a Prometheus: tests/integration/test_prometheus.py runs it.
PATHS = sorted(path for path in EXAMPLES.glob("*.py") if path.name != "demo.py")


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_without_arguments_an_example_says_what_it_needs(path):
    done = run(path.name)
    if "[GATEWAY]" in path.read_text():
        assert "IndexError" not in done.stderr
        assert done.returncode == 0 or "localhost:9091" in done.stderr
    else:
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert f"python {path.name}" in done.stderr


def families(request):
    return {family.name: family.metric[0] for family in decode(request.body)}


def test_batch_job():
    with rogue() as server:
        ran("batch_job.py", server.url)
    [request] = server.seen
    assert (request.method, request.path) == ("PUT", "/metrics/job/example")
    assert families(request)["data_processed_bytes"].gauge.value == 42


def test_basic_auth():
    with rogue(answer(), answer(401, b"Unauthorized")) as server:
        ran("basic_auth.py", server.url, "user", stdin="pass\n")
        refused = run("basic_auth.py", server.url, "user", stdin="wrong\n")
    assert server.seen[0].headers["authorization"] == "Basic dXNlcjpwYXNz"
    assert refused.returncode == 1
    assert "was 401" in refused.stderr


def test_bearer_token(tmp_path):
    (tmp_path / "token").write_text("abc\n")
    with rogue() as server:
        ran("bearer_token.py", server.url, tmp_path / "token")
    assert [r.headers["authorization"] for r in server.seen] == ["Bearer abc", "Bearer abc"]


def test_decorator():
    with rogue() as server:
        ran("decorator.py", server.url)
    [request] = server.seen
    assert (request.method, request.path) == ("POST", "/metrics/job/nightly_import")
    assert families(request)["batch_job_success"].gauge.value == 1
    assert families(request)["rows_total"].counter.value == 3


def test_async():
    with rogue() as server:
        ran("async_push.py", server.url)
    assert families(server.seen[-1])["messages_handled_total"].counter.value == 3


def test_native_histogram():
    with rogue() as server:
        ran("native_histogram.py", server.url)
    histogram = families(server.seen[0])["file_sizes_bytes"].histogram
    assert (histogram.sample_count, histogram.schema, len(histogram.bucket)) == (3, 5, 5)


@pytest.fixture
def authority(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


def context(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def test_tls(authority, tmp_path):
    with rogue(tls=context(authority)) as server:
        ran("tls_private_ca.py", server.url, tmp_path / "ca.pem")
        ran("tls_unverified.py", server.url)
    assert len(server.seen) == 2


def test_mtls(authority, tmp_path):
    strict = context(authority)
    authority.configure_trust(strict)
    strict.verify_mode = ssl.CERT_REQUIRED
    identity = authority.issue_cert("client")
    identity.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    identity.private_key_pem.write_to_path(tmp_path / "key.pem")
    files = [tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")]
    with rogue(tls=strict) as server:
        ran("mtls.py", server.url, *files)
    assert len(server.seen) == 1
