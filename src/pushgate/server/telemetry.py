"""The server's own metrics, which every scrape includes."""

import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
)

from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.server.quantiles import Window
from pushgate.server.recent import Minute, Recent
from pushgate.server.store.consistency import OwnFamily
from pushgate.server.version import BUILD

_REQUESTS = "pushgateway_http_requests_total"
_REJECTED = "pushgate_rejected_pushes_total"
_SIZE = "pushgateway_http_push_size_bytes"
_DURATION = "pushgateway_http_push_duration_seconds"
# These have samples only after the first request or push, but the names are ours.
_COUNTED = {
    _REQUESTS: OwnFamily(
        MetricType.COUNTER,
        "Total HTTP requests processed by the Pushgateway, excluding scrapes.",
        predefined=False,
    ),
    _REJECTED: OwnFamily(MetricType.COUNTER, "Refused pushes, by reason.", predefined=True),
    _SIZE: OwnFamily(
        MetricType.SUMMARY, "HTTP request size for pushes to the Pushgateway.", predefined=False
    ),
    _DURATION: OwnFamily(
        MetricType.SUMMARY, "HTTP request duration for pushes to the Pushgateway.", predefined=False
    ),
}
_RANKS = (0.1, 0.5, 0.9)
# As the Go client's summaries have it by default: MaxAge, and AgeBuckets.
_WINDOW_SECONDS = 600
_AGES = 5
# After so many of one code and method, pushes are taken in before their second is over.
_MOST_FRESH = 500


class Sample(NamedTuple):
    """One number. *name* is that of the family, for summaries with its suffix."""

    name: str
    labels: Labels
    value: float


class Family(NamedTuple):
    """One of the server's own families, named as in the text format (``…_total``).

    ``head`` has no metrics: these are the samples.
    """

    head: FamilyShape
    samples: list[Sample]


class Telemetry:
    """The server's own metrics. All of it belongs to the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start counting. The time passed to :meth:`count_push` is one of *clock*."""
        self._clock = clock
        self._registry = CollectorRegistry()
        for collector in (PlatformCollector, GCCollector, ProcessCollector):
            collector(registry=self._registry)
        self._own = _COUNTED | {
            head.name: OwnFamily(head.type, head.help or "", predefined=True)
            for head, _ in map(_family, self._registry.collect())
        }
        self._requests: Counter[tuple[int, str, str]] = Counter()
        self.rejected: Counter[str] = Counter()
        """How many pushes were refused since the start, by a reason: a word, of a bounded set."""
        self._shown: dict[str, tuple[Callable[[], float], Labels]] = {}
        self._pushes = defaultdict[str, tuple[Window, Window]](
            lambda: (Window(_WINDOW_SECONDS, _AGES), Window(_WINDOW_SECONDS, _AGES))
        )
        # Sizes and seconds of the pushes that are not taken in yet, by code and method.
        self._fresh = defaultdict[tuple[int, str], list[tuple[int, float]]](list)
        self._fresh_until = self._last_push = 0.0
        self.recent = Recent()
        """What the status page shows of the last hour."""
        # prometheus_client lacks this one. Without a limit, Go shows the largest uint64, which as
        # a float is 2**64.
        space, _ = resource.getrlimit(resource.RLIMIT_AS)
        self.show(
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
            lambda: 2**64 if space == resource.RLIM_INFINITY else space,
        )
        self.show(
            "pushgateway_build_info",
            "A metric with a constant '1' value labeled by version, revision, branch and tags "
            "of the server, and the pythonversion it runs on.",
            lambda: 1,
            (
                ("branch", BUILD.branch),
                ("pythonversion", BUILD.python),
                ("revision", BUILD.revision),
                ("tags", BUILD.tags),
                ("version", BUILD.version),
            ),
        )

    def show(self, name: str, help_: str, read: Callable[[], float], labels: Labels = ()) -> None:
        """Show what *read* returns at each scrape: a counter if *name* ends in ``_total``."""
        kind = MetricType.COUNTER if name.endswith("_total") else MetricType.GAUGE
        self._own[name] = OwnFamily(kind, help_, predefined=True)
        self._shown[name] = read, labels

    def count_push(self, code: int, method: str, size: int, started: float) -> None:
        """Count a push of *size* bytes that *started* at a time of the clock and ends now.

        It is on the path of every push, so those of a second, or some hundreds, are taken in at
        once: that costs a fifth of what it costs one by one.
        """
        now = self._clock()
        if now >= self._fresh_until:
            self._take_in()
            self._fresh_until = now + 1
        fresh = self._fresh[code, method]
        fresh.append((size, now - started))
        self._last_push = now
        if len(fresh) == _MOST_FRESH:
            self._take_in()

    def _take_in(self) -> None:
        now = self._last_push
        for (code, method), pushes in self._fresh.items():
            sizes, seconds = zip(*pushes, strict=True)
            verb = method.lower()
            self._requests[code, "push", verb] += len(pushes)
            self._pushes[verb][0].observe(sizes, now)
            self._pushes[verb][1].observe(seconds, now)
            self.recent.count(seconds, now)
        self._fresh.clear()

    def minutes(self) -> list[Minute]:
        """Return the pushes of the last minutes, the current one at the end."""
        self._take_in()
        return self.recent.minutes(self._clock())

    def count_request(self, code: int, handler: str, method: str) -> None:
        """Count a request that *handler* answered with *code*; *method* is lower case.

        Pushes are counted by :meth:`count_push`.
        """
        self._requests[code, handler, method] += 1

    def own(self, name: str) -> OwnFamily | None:
        """Return the own family *name* for the consistency check; None if there is none."""
        return self._own.get(name)

    def names(self) -> dict[str, tuple[str, str]]:
        """Return name → (type, help) of the own families, those without samples yet included."""
        return {name: (own.type.word, own.help) for name, own in self._own.items()}

    def families(self) -> list[Family]:
        """Return the current own metrics by name, without families that have no samples."""
        self._take_in()
        samples = {
            name: [Sample(name, labels, float(read()))]
            for name, (read, labels) in self._shown.items()
        }
        samples[_REQUESTS] = [
            Sample(
                _REQUESTS,
                (("code", str(code)), ("handler", handler), ("method", method)),
                float(count),
            )
            for (code, handler, method), count in self._requests.items()
        ]
        samples[_REJECTED] = [
            Sample(_REJECTED, (("reason", reason),), float(count))
            for reason, count in self.rejected.items()
        ]
        now = self._clock()
        for index, name in enumerate((_SIZE, _DURATION)):
            samples[name] = [
                sample
                for method, windows in sorted(self._pushes.items())
                for sample in _summary(name, method, windows[index], now)
            ]
        families = [
            Family(FamilyShape(name, self._own[name].type, self._own[name].help, ()), some)
            for name, some in samples.items()
            if some
        ]
        families += map(_family, self._registry.collect())
        return sorted(families, key=lambda family: family.head.name)


def _family(metric: Metric) -> Family:
    """Undo what the collectors do for OpenMetrics: name counters without ``_total``."""
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    samples = [
        Sample(sample.name, tuple(sorted(sample.labels.items())), float(sample.value))
        for sample in metric.samples
    ]
    kind = MetricType[metric.type.upper()]
    return Family(FamilyShape(name, kind, metric.documentation, ()), samples)


def _summary(name: str, method: str, window: Window, now: float) -> Iterator[Sample]:
    labels = (("method", method),)
    for rank, value in zip(_RANKS, window.quantiles(_RANKS, now), strict=True):
        yield Sample(name, (*labels, ("quantile", str(rank))), float(value))
    yield Sample(f"{name}_sum", labels, window.sum)
    yield Sample(f"{name}_count", labels, float(window.count))
