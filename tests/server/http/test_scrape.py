import asyncio
import gzip

import pytest

from pushgate.formats.zstd import zstd
from pushgate.server.store.group import Group
from pushgate.server.store.store import Store
from tests.exposition import pushed_part
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
        for job in range(60):
            body = "".join(f'm{job}{{i="{i}"}} {i}\n' for i in range(500))
            await served.asked("PUT", f"/metrics/job/{job}/l{job}/x", body)
        finished = []

        async def ask(target):
            await served.asked("GET", target)
            finished.append(target)

        await asyncio.gather(ask("/metrics"), ask("/-/healthy"))
        assert finished == ["/-/healthy", "/metrics"]

    asyncio.run(scenario())


def some_jobs() -> Served:
    served = Served()
    for job in ("a", "b"):
        body = (
            f'# HELP m Of all.\n# TYPE m gauge\nm{{of="{job}"}} 1\n# TYPE {job} counter\n{job} 2\n'
        )
        served.ask("PUT", f"/metrics/job/{job}", body)
    return served


def scraped_groups(query: str, **headers: str) -> Response:
    return some_jobs().ask("GET", f"/metrics?{query}", b"", headers)


def test_a_scrape_with_selectors_shows_those_groups_and_nothing_of_the_server():
    everything = pushed_part(some_jobs().ask("GET", "/metrics").text)
    of_a = [line for line in everything if 'job="b"' not in line and "# TYPE b" not in line]
    a = scraped_groups('match[]={job="a"}')
    assert (pushed_part(a.text), "pushgate" in a.text) == (of_a, False)
    both = scraped_groups('match[]={job="a"}&match[]={job="b"}')
    assert pushed_part(both.text) == everything
    assert pushed_part(scraped_groups('match[]={job=~".%2B"}').text) == everything
    nothing = scraped_groups('match[]={job="none"}')
    assert (nothing.status, nothing.body) == (200, b"")


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_some_groups_are_scraped_in_every_format_and_encoding(encoding):
    accept = {"Accept": f"{PROTOBUF};encoding=delimited"}
    plain = scraped_groups('match[]={job="a"}', **accept)
    assert b"\x0a\x01a" in plain.body
    assert b"\x0a\x01b" not in plain.body
    text = scraped_groups('match[]={job="a"}')
    coded = scraped_groups('match[]={job="a"}', **{"Accept-Encoding": encoding})
    assert coded.headers["content-encoding"] == encoding
    decode = gzip.decompress if encoding == "gzip" else zstd.decompress
    assert pushed_part(decode(coded.body).decode()) == pushed_part(text.text)


def test_a_scrape_with_a_wrong_selector_says_where_it_is_wrong():
    answer = some_jobs().ask("GET", "/metrics?match[]={job=1}")
    assert (answer.status, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    expected = 'invalid parameter "match[]": position 6: expected a value in quotes after "="'
    assert answer.text.startswith(expected)


def test_a_scrape_ignores_every_other_parameter():
    assert "pushgate_groups 2" in some_jobs().ask("GET", "/metrics?module=x&match=y").text


def test_scrapes_that_wait_share_the_next_one_which_has_what_was_pushed_before(monkeypatch):
    begun: list[Store] = []
    runs = Store.runs

    def noted(store: Store) -> list[tuple[Group, ...]]:
        begun.append(store)
        return runs(store)

    monkeypatch.setattr(Store, "runs", noted)

    async def scenario():
        served = Served()
        for job in range(60):
            body = "".join(f'm{job}{{i="{i}"}} {i}\n' for i in range(500))
            await served.asked("PUT", f"/metrics/job/{job}/l{job}/x", body)
        first = asyncio.create_task(served.asked("GET", "/metrics"))
        while not begun:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0)
        await served.asked("PUT", "/metrics/job/late", "late 1\n")
        assert not first.done()
        gone = asyncio.create_task(served.asked("GET", "/metrics"))
        later = [asyncio.create_task(served.asked("GET", "/metrics")) for _ in range(5)]
        await asyncio.sleep(0)
        gone.cancel()
        return await first, await asyncio.gather(*later)

    first, later = asyncio.run(scenario())
    assert len({answer.body for answer in later}) == 1
    assert 'late{instance="",job="late"} 1\n' in later[0].text
    assert "late" not in first.text
