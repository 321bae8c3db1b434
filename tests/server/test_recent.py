from math import isnan

from pushgate.server.recent import MINUTES, Recent, RefusedPush, Scrape


def counts(recent: Recent, now: float) -> list[int]:
    return [minute.pushes for minute in recent.minutes(now)]


def test_pushes_are_counted_by_the_minute():
    recent = Recent()
    for now in (0.0, 1.0, 59.9, 60.0, 200.0):
        recent.count([now], now)
    assert counts(recent, 200.0) == [3, 1, 0, 1]
    first, _, empty, _ = recent.minutes(200.0)
    assert (first.p50, first.p99) == (1.0, 59.9)
    assert isnan(empty.p50)


def test_an_hour_is_kept_however_long_nothing_happens():
    recent = Recent()
    for minute in range(100):
        recent.count([0.1], 60.0 * minute)
    assert counts(recent, 60.0 * 99) == [1] * MINUTES
    assert counts(recent, 1e9) == [0] * MINUTES
    recent.count([0.1], 1e9)
    assert counts(recent, 1e9)[-1] == 1


def test_the_latest_twenty_refused_pushes_are_kept():
    recent = Recent()
    for number in range(30):
        recent.refuse(RefusedPush(number, "127.0.0.1", None, "body", "x" * 10_000))
    assert [refusal.time for refusal in recent.refused] == [*range(29, 9, -1)]
    assert len(recent.refused[0].message) == 500


def test_each_client_has_its_last_scrape_and_few_clients_are_kept():
    recent = Recent()
    for number in range(50):
        recent.scrape(Scrape(number, f"10.0.0.{number % 25}", "a" * 1000, 0.1, 10))
    scrapes = recent.scrapes()
    assert [scrape.time for scrape in scrapes] == [*range(49, 29, -1)]
    assert len(scrapes[0].agent) == 100
