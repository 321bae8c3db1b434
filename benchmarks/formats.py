"""How long it takes to read a push of about 50 series, in microseconds.

    python -m benchmarks.formats

*known*: the shape was read before, the numbers are new. *relabeled*: the value of a label is
new, too. *new*: nothing was read before.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Summary

from pushgate.client import protobuf, text
from pushgate.client.families import Family, gather
from pushgate.formats.protobuf.reader import ProtobufReader
from pushgate.formats.text import TextReader
from pushgate.instruments import Histogram
from pushgate.model.names import NameRule

BODIES = 100
LEARNED = 8
RUNS = 15
READERS = {
    "text": (text.encode, lambda: TextReader(NameRule.LEGACY)),
    "protobuf": (protobuf.encode, ProtobufReader),
}


def gauges(numbers: random.Random, registry: CollectorRegistry) -> None:
    for family in range(10):
        gauge = Gauge(f"gauge_{family}_bytes", "Some help.", ["stage"], registry=registry)
        for stage in range(5):
            gauge.labels(stage).set(numbers.randrange(10**5) / 10)


def counters(numbers: random.Random, registry: CollectorRegistry) -> None:
    """As many clients send them: with the time at which they were created."""
    for family in range(10):
        counter = Counter(f"counter_{family}", "Some help.", ["stage"], registry=registry)
        for stage in range(5):
            counter.labels(stage).inc(numbers.randrange(10**5))


def histograms(
    numbers: random.Random, registry: CollectorRegistry, *, native: bool = False
) -> None:
    for family in range(4):
        name = f"histogram_{family}_seconds"
        histogram = Histogram(name, "Some help.", native=native, registry=registry)
        for _ in range(numbers.randrange(100, 300)):
            histogram.observe(numbers.lognormvariate(-1, 2))


def native_histograms(numbers: random.Random, registry: CollectorRegistry) -> None:
    histograms(numbers, registry, native=True)


def summaries(numbers: random.Random, registry: CollectorRegistry) -> None:
    for family in range(25):
        summary = Summary(f"summary_{family}_seconds", "Some help.", registry=registry)
        for _ in range(numbers.randrange(100)):
            summary.observe(numbers.random())


def bodies(
    fill: Callable[..., None], encode: Callable[..., bytes], *, relabeled: bool = False
) -> list[bytes]:
    """Return bodies of one shape, or *relabeled* ones whose label ``run`` is new each time."""
    numbers = random.Random(0)
    made = []
    for run in range(BODIES):
        registry = CollectorRegistry()
        fill(numbers, registry)
        families = gather(registry.collect())
        if relabeled:
            families = [with_label(family, "run", f"{run:05}") for family in families]
        made.append(b"".join(map(encode, families)))
    return made


def with_label(family: Family, name: str, value: str) -> Family:
    """Return *family* with one more label on each of its points."""
    points = [
        replace(point, labels=tuple(sorted([*point.labels, (name, value)])))
        for point in family.points.values()
    ]
    return replace(family, points={point.labels: point for point in points})


def reading(reader: Callable[[], Any], sent: list[bytes], *, known: bool) -> float:
    """Return the microseconds a body takes, at best."""
    runs = []
    for _ in range(RUNS):
        readers = [reader()] * BODIES if known else [reader() for _ in sent]
        for body in sent[:LEARNED] * known:
            readers[0].read(body)
        started = perf_counter()
        for one, body in zip(readers[LEARNED:], sent[LEARNED:], strict=True):
            one.read(body)
        runs.append(perf_counter() - started)
    return min(runs) / (BODIES - LEARNED) * 1e6


def main() -> None:
    columns = f"{'known':>7} {'relabeled':>9} {'new':>7}"
    print(f"{'body':20} {'format':10} {'bytes':>6} {columns}")
    for fill in (gauges, counters, histograms, native_histograms, summaries):
        for name, (encode, reader) in READERS.items():
            sent = bodies(fill, encode)
            known, new = (reading(reader, sent, known=known) for known in (True, False))
            other = reading(reader, bodies(fill, encode, relabeled=True), known=True)
            taken = f"{known:7.0f} {other:9.0f} {new:7.0f}"
            print(f"{fill.__name__:20} {name:10} {len(sent[0]):6} {taken}")


if __name__ == "__main__":
    main()
