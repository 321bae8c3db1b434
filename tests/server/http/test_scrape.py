import asyncio
import gzip

import pytest

from tests.server.http.asgi import Response, Served

TEXT = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"
PUSHED = 'm{instance="",job="j"} 1\n'


def scraped(headers: dict[str, str] | None = None) -> Response:
    served = Served()
    served.ask("PUT", "/metrics/job/j", "m 1\n")
    return served.ask("GET", "/metrics", headers=headers)


def test_everything_is_scraped_as_text_with_its_length():
    answer = scraped()
    assert (answer.status, answer.headers["content-type"]) == (200, TEXT)
    assert answer.headers["content-length"] == str(len(answer.body))
    assert "content-encoding" not in answer.headers
    assert PUSHED in answer.text
    assert "# TYPE pushgateway_build_info gauge\n" in answer.text


def test_protobuf_is_sent_to_whoever_asks_for_it():
    answer = scraped({"Accept": f"{PROTOBUF};encoding=delimited"})
    assert answer.headers["content-type"].startswith("application/vnd.google.protobuf; proto=")
    assert b"\x0a\x01m" in answer.body


def test_an_answer_is_compressed_for_clients_that_can_read_that():
    answer = scraped({"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert PUSHED in gzip.decompress(answer.body).decode()


@pytest.mark.parametrize("size", [1_000, 30_000])
def test_a_large_exposition_is_written_in_chunks(size):
    served = Served()
    served.ask("PUT", "/metrics/job/j", "".join(f'm{{i="{i}"}} {i}\n' for i in range(size)))
    answer = served.ask("GET", "/metrics")
    assert 1 < answer.chunks <= 2 + len(answer.body) // (64 << 10)
    assert answer.text.count("\nm{") + answer.text.startswith("m{") == size


def test_other_requests_are_served_while_an_exposition_is_made():
    async def scenario():
        served = Served()
        for job in range(20):
            body = "".join(f'm{job}{{i="{i}"}} {i}\n' for i in range(500))
            await served.asked("PUT", f"/metrics/job/{job}/l{job}/x", body)
        finished = []

        async def ask(target):
            await served.asked("GET", target)
            finished.append(target)

        await asyncio.gather(ask("/metrics"), ask("/-/healthy"))
        assert finished == ["/-/healthy", "/metrics"]

    asyncio.run(scenario())
