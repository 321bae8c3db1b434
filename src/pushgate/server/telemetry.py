"""The server's own metrics, which every scrape includes."""

import resource
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from pushgate.model.family import FamilyShape, MetricType
from pushgate.server.quantiles import Window
from pushgate.server.recent import Recent
from pushgate.server.store.consistency import OwnFamily
from pushgate.server.version import BUILD

_REQUESTS = (
    "pushgateway_http_requests_total",
    "Total HTTP requests processed by the Pushgateway, excluding scrapes.",
)
_SIZE = (
    "pushgateway_http_push_size_bytes",
    "HTTP request size for pushes to the Pushgateway.",
)
_DURATION = (
    "pushgateway_http_push_duration_seconds",
    "HTTP request duration for pushes to the Pushgateway.",
)
_RANKS = (0.1, 0.5, 0.9)
# As the Go client's summaries have it by default: MaxAge, and AgeBuckets.
_WINDOW_SECONDS = 600
_AGES = 5


class Sample(NamedTuple):
    """One number. *name* is that of the family, for summaries with its suffix."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(NamedTuple):
    """One of the server's own families, named as in the text format (``…_total``)."""

    name: str
    type: str
    help: str
    samples: list[Sample]

    @property
    def kind(self) -> MetricType:
        """The type, as pushed families have it."""
        return MetricType[self.type.upper()]

    @property
    def shape(self) -> FamilyShape:
        """The head of the family; it has no metrics."""
        return FamilyShape(self.name, self.kind, self.help, ())


class Telemetry:
    """The server's own metrics. All of it belongs to the event loop's thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start counting. The times passed to :meth:`observe_push` are those of *clock*."""
        self._clock = clock
        self._registry = _process_metrics()
        self._rejected = Counter(
            "pushgate_rejected_pushes_total",
            "Refused pushes, by reason.",
            ["reason"],
            registry=self._registry,
        )
        self._own = {
            family.name: OwnFamily(family.kind, family.help, predefined=True)
            for family in map(_family, self._registry.collect())
        }
        # These have samples only after the first request or push, but the names are ours.
        self._own[_REQUESTS[0]] = OwnFamily(MetricType.COUNTER, _REQUESTS[1], predefined=False)
        for name, help_ in (_SIZE, _DURATION):
            self._own[name] = OwnFamily(MetricType.SUMMARY, help_, predefined=False)
        self._requests: Tally[tuple[int, str, str]] = Tally()
        self._pushes: dict[str, tuple[Window, Window]] = {}
        self.recent = Recent()
        """What the status page shows of the last hour."""

    def show(self, name: str, help_: str, read: Callable[[], float]) -> None:
        """Show what *read* returns at each scrape: a counter if *name* ends in ``_total``."""
        if name.endswith("_total"):
            self._registry.register(_ReadCounter(name, help_, read))
            kind = MetricType.COUNTER
        else:
            Gauge(name, help_, registry=self._registry).set_function(read)
            kind = MetricType.GAUGE
        self._own[name] = OwnFamily(kind, help_, predefined=True)

    def count_request(self, code: int, handler: str, method: str) -> None:
        """Count a request that *handler* answered with *code*; *method* is lower case."""
        self._requests[code, handler, method] += 1

    def observe_push(self, method: str, size: int, seconds: float, now: float) -> None:
        """Take in a push of *size* bytes that took *seconds* and ended at *now*.

        Cost: below 1 µs. It is on the path of every push.
        """
        try:
            sizes, durations = self._pushes[method]
        except KeyError:
            windows = Window(_WINDOW_SECONDS, _AGES), Window(_WINDOW_SECONDS, _AGES)
            sizes, durations = self._pushes[method] = windows
        sizes.observe(size, now)
        durations.observe(seconds, now)
        self.recent.push(seconds, now)

    def count_rejected(self, reason: str) -> None:
        """Count a push that was refused for *reason*: a word, of a bounded set."""
        self._rejected.labels(reason).inc()

    def own(self, name: str) -> OwnFamily | None:
        """Return the own family *name* for the consistency check; None if there is none."""
        return self._own.get(name)

    def names(self) -> dict[str, tuple[str, str]]:
        """Return name → (type, help) of the own families, those without samples yet included."""
        return {name: (own.type.word, own.help) for name, own in self._own.items()}

    def families(self) -> list[Family]:
        """Return the current own metrics by name, without families that have no samples."""
        name, help_ = _REQUESTS
        requests = [
            Sample(
                name,
                (("code", str(code)), ("handler", handler), ("method", method)),
                float(count),
            )
            for (code, handler, method), count in self._requests.items()
        ]
        families = [
            *map(_family, self._registry.collect()),
            Family(name, "counter", help_, requests),
        ]
        now = self._clock()
        for index, (name, help_) in enumerate((_SIZE, _DURATION)):
            samples = [
                sample
                for method, windows in sorted(self._pushes.items())
                for sample in _summary(name, method, windows[index], now)
            ]
            families.append(Family(name, "summary", help_, samples))
        return sorted(family for family in families if family.samples)


def _process_metrics() -> CollectorRegistry:
    """Return a registry with the metrics of the process and its build."""
    registry = CollectorRegistry()
    for collector in (PlatformCollector, GCCollector, ProcessCollector):
        collector(registry=registry)
    # prometheus_client lacks this one. Without a limit, Go shows the largest uint64, which as a
    # float is 2**64.
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    Gauge(
        "process_virtual_memory_max_bytes",
        "Maximum amount of virtual memory available in bytes.",
        registry=registry,
    ).set(2**64 if space == resource.RLIM_INFINITY else space)
    build = {
        "branch": BUILD.branch,
        "pythonversion": BUILD.python,
        "revision": BUILD.revision,
        "tags": BUILD.tags,
        "version": BUILD.version,
    }
    Gauge(
        "pushgateway_build_info",
        "A metric with a constant '1' value labeled by version, revision, branch and tags "
        "of the server, and the pythonversion it runs on.",
        build,
        registry=registry,
    ).labels(**build).set(1)
    return registry


def _family(metric: Metric) -> Family:
    """Undo what the instruments do for OpenMetrics: counters without ``_total``, ``_created``."""
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    samples = [
        Sample(sample.name, tuple(sorted(sample.labels.items())), float(sample.value))
        for sample in metric.samples
        if not sample.name.endswith("_created")
    ]
    return Family(name, metric.type, metric.documentation, samples)


def _summary(name: str, method: str, window: Window, now: float) -> Iterator[Sample]:
    labels = (("method", method),)
    for rank, value in zip(_RANKS, window.quantiles(_RANKS, now), strict=True):
        yield Sample(name, (*labels, ("quantile", str(rank))), float(value))
    yield Sample(f"{name}_sum", labels, window.sum)
    yield Sample(f"{name}_count", labels, float(window.count))


class _ReadCounter(Collector):
    """A counter that is kept elsewhere and read at each scrape."""

    def __init__(self, name: str, help_: str, read: Callable[[], float]) -> None:
        self._name, self._help, self._read = name, help_, read

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(self._name, self._help, value=self._read())
