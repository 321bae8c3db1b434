"""curl, and what scripts do without any library, push to our server."""

import gzip

from tests import services
from tests.exchange import exchanged, statuses
from tests.interop.stored import groups, run, samples

SMALL = b"# TYPE curl_rows gauge\ncurl_rows 42\n"
# Larger than what curl sends before it is told to continue.
SERIES = 30_000
LARGE = b"".join(b'curl_many{number="%d"} %d\n' % (n, n) for n in range(SERIES))


def curl(*arguments):
    """The status of the answer, then its body."""
    command = [services.find_curl(), "--silent", "--show-error", "--max-time", "20"]
    done = run([*command, "--write-out", "%{stderr}%{http_code} %{http_version}", *arguments])
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


def test_data_binary_comes_as_a_form_and_is_read_as_text(gateway, tmp_path):
    (tmp_path / "metrics").write_bytes(SMALL)

    answer = curl("--data-binary", f"@{tmp_path}/metrics", f"{gateway.url}/metrics/job/form")

    assert answer == "200 1.1"
    assert samples(gateway, {"job": "form"}) == {("curl_rows",): 42}


def test_data_without_its_line_ends_is_refused_by_the_place(gateway, tmp_path):
    (tmp_path / "metrics").write_bytes(SMALL)

    answer = curl("--data", f"@{tmp_path}/metrics", f"{gateway.url}/metrics/job/joined")

    assert answer.startswith("400 1.1text format parsing error in line 1: ")
    assert {"job": "joined"} not in groups(gateway)


def test_a_large_upload_waits_for_100_continue(gateway, tmp_path):
    (tmp_path / "metrics").write_bytes(LARGE)
    trace = tmp_path / "trace"
    target = f"{gateway.url}/metrics/job/upload"

    answer = curl(
        "--upload-file", f"{tmp_path}/metrics", "--expect100-timeout", "10",
        "--header", "Expect: 100-continue", "--trace-ascii", str(trace), target,
    )  # fmt: skip

    assert answer == "200 1.1"
    assert "HTTP/1.1 100 Continue" in trace.read_text()
    assert len(samples(gateway, {"job": "upload"})) == SERIES


def test_an_upload_that_is_too_large_is_refused_before_it_is_sent(tmp_path):
    (tmp_path / "metrics").write_bytes(LARGE)
    trace = tmp_path / "trace"
    with services.pushgate("--limit.body-bytes=64KiB") as gateway:
        answer = curl(
            "--upload-file", f"{tmp_path}/metrics", "--expect100-timeout", "10",
            "--header", "Expect: 100-continue", "--trace-ascii", str(trace),
            f"{gateway.url}/metrics/job/upload",
        )  # fmt: skip

    assert answer.startswith("413 1.1")
    assert "--limit.body-bytes" in answer
    assert "100 Continue" not in trace.read_text()


def test_a_pipe_is_sent_in_chunks(gateway, tmp_path):
    (tmp_path / "metrics.gz").write_bytes(gzip.compress(LARGE))

    answer = curl(
        "--upload-file", f"{tmp_path}/metrics.gz", "--header", "Transfer-Encoding: chunked",
        "--header", "Content-Encoding: gzip", f"{gateway.url}/metrics/job/chunks",
    )  # fmt: skip

    assert answer == "200 1.1"
    assert len(samples(gateway, {"job": "chunks"})) == SERIES


def test_http_1_0_is_answered_and_the_connection_closed(gateway):
    answer = curl("--http1.0", "--data-binary", SMALL.decode(), f"{gateway.url}/metrics/job/old")
    scrape = curl("--http1.0", f"{gateway.url}/metrics")

    assert answer in {"200 1", "200 1.0"}  # the version, as different releases of curl write it
    assert 'curl_rows{instance="",job="old"} 42' in scrape


def test_an_offer_of_http2_is_declined(gateway):
    offer = curl("--http2", "--data-binary", SMALL.decode(), f"{gateway.url}/metrics/job/offer")

    assert offer == "200 1.1"
    assert samples(gateway, {"job": "offer"}) == {("curl_rows",): 42}


def test_requests_sent_together_are_answered_in_order(gateway):
    push = b"%s /metrics/job/pipeline HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n%s"
    requests = [
        push % (b"PUT", len(SMALL), SMALL),
        push % (b"POST", 6, b"more 1"),
        push % (b"POST", 2, b"1\n"),
        b"GET /-/healthy HTTP/1.1\r\nHost: g\r\n\r\n",
        b"GET /metrics/job/pipeline HTTP/1.1\r\nHost: g\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: g\r\n\r\n",
        push % (b"DELETE", 0, b""),
        b"GET /metrics HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n",
    ]

    answers = exchanged(gateway.port, b"".join(requests))

    assert statuses(answers) == [200, 200, 400, 200, 405, 200, 202, 200]
    before, after = answers.rsplit(b"HTTP/1.1 200", 2)[1:]
    line = b'curl_rows{instance="",job="pipeline"} 42\n'
    assert line in before
    assert line not in after


def test_a_shell_without_any_client_can_push(gateway):
    """`printf ... | nc`, which keeps its side open and waits for the end."""
    head = b"POST /metrics/job/nc HTTP/1.0\r\nContent-Length: %d\r\n\r\n"

    answer = exchanged(gateway.port, head % len(SMALL) + SMALL)

    assert statuses(answer) == [200]
    assert samples(gateway, {"job": "nc"}) == {("curl_rows",): 42}
