"""A histogram with classic buckets, native buckets, or both."""

import inspect
import logging
import math
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace as dataclass_replace
from decimal import Decimal
from functools import cache, lru_cache, wraps
from itertools import accumulate
from threading import Lock
from typing import Any, Literal, ParamSpec, Self, TypeVar
from weakref import WeakSet

import prometheus_client
from prometheus_client.core import Metric
from prometheus_client.registry import REGISTRY, CollectorRegistry
from prometheus_client.samples import Exemplar, NativeHistogram, Sample

from pushgate.errors import ConfigurationError
from pushgate.instruments import exemplars as exemplar_rules
from pushgate.instruments.native import (
    DEFAULT_ZERO_THRESHOLD,
    MAX_SCHEMA,
    MIN_SCHEMA,
    NativeBuckets,
    schema_for,
)
from pushgate.model.numbers import go_float
from pushgate.properties import PrometheusProperties, resolve

_P = ParamSpec("_P")
_R = TypeVar("_R")
_log = logging.getLogger("pushgate.instruments")
Mode = Literal["classic", "native", "both"]
DEFAULT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def linear_buckets(start: float, width: float, count: int) -> list[float]:
    """Return *count* bounds from *start* on, each *width* above the one before.

    Computed in decimals, so that they look as expected.

    Example:
        >>> linear_buckets(0.1, 0.1, 3)
        [0.1, 0.2, 0.3]
    """
    first, step = Decimal(str(start)), Decimal(str(width))
    return [float(first + step * number) for number in range(count)]


def exponential_buckets(start: float, factor: float, count: int) -> list[float]:
    """Return *count* bounds from *start* on, each *factor* times the one before.

    Example:
        >>> exponential_buckets(0.5, 2, 3)
        [0.5, 1.0, 2.0]
    """
    return [start * factor**number for number in range(count)]


class HistogramFamily(Metric):
    """A family of :class:`Histogram`: classic samples, and native buckets beside them.

    Text writers see only the samples, which are a complete classic histogram.
    """

    native_only = False

    def __init__(self, name: str, documentation: str, unit: str) -> None:
        super().__init__(name, documentation, "histogram", unit)
        self.native: list[tuple[Mapping[str, str], NativeHistogram]] = []

    def _restricted_metric(self, names: Sequence[str]) -> "HistogramFamily | None":
        """Keep the native part where prometheus_client rebuilds a family with fewer samples."""
        samples = [sample for sample in self.samples if sample.name in names]
        if not samples:
            return None
        family = HistogramFamily(self.name, self.documentation, self.unit)
        family.samples, family.native, family.native_only = samples, self.native, self.native_only
        return family


@dataclass(frozen=True, slots=True)
class _Settings:
    mode: Mode
    bounds: tuple[float, ...]
    schema: int
    max_buckets: int
    min_zero_threshold: float
    max_zero_threshold: float
    reset_after: float
    exemplars: bool


class LabelledHistogram:
    """One label set of a :class:`Histogram`."""

    def __init__(self, settings: _Settings, sampler: exemplar_rules.Sampler) -> None:
        self._settings = settings
        self._sampler = sampler
        self._lock = Lock()
        self._native = (
            None
            if settings.mode == "classic"
            else NativeBuckets(
                settings.schema,
                settings.max_buckets,
                settings.min_zero_threshold,
                settings.max_zero_threshold,
            )
        )
        self._clear()

    @property
    def count(self) -> int:
        """Number of observations."""
        return self._total

    @property
    def sum(self) -> float:
        """Sum of the observed values."""
        return self._sum

    def renew_lock(self) -> None:
        """Replace the lock after a fork: another thread of the parent may hold it forever."""
        self._lock = Lock()

    def _clear(self) -> None:
        bounds = self._settings.bounds
        self._total, self._sum = 0, 0.0
        self._counts = [0] * len(bounds)
        self._newest: list[Exemplar | None] = [None] * len(bounds)
        self._spread: list[Exemplar] = []
        self._created = time.time()
        self._reset_at = time.monotonic() + (self._settings.reset_after or math.inf)
        if self._native is not None:
            self._native.clear()

    def _reset_if_due(self) -> None:
        native = self._native
        if native is not None and native.is_degraded and time.monotonic() >= self._reset_at:
            self._clear()

    def time(self) -> "Timer":
        """Return what observes the seconds a ``with`` block or a (coroutine) function takes."""
        return Timer(self.observe)

    def observe(self, value: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Count *value*; see :meth:`Histogram.observe`."""
        if math.isnan(value):
            return
        labels = None if exemplar is None else exemplar_rules.checked(exemplar)
        with self._lock:
            self._reset_if_due()
            if self._count(value):
                self._relieve(value)
            if self._settings.exemplars:
                self._keep_exemplar(value, labels)

    def _count(self, value: float) -> bool:
        self._total += 1
        self._sum += value
        self._counts[bisect_left(self._settings.bounds, value)] += 1
        return self._native is not None and self._native.observe(value)

    def _relieve(self, value: float) -> None:
        assert self._native is not None
        if time.monotonic() >= self._reset_at:
            self._clear()
            self._count(value)
        else:
            self._native.shrink()

    def _keep_exemplar(self, value: float, labels: dict[str, str] | None) -> None:
        place = bisect_left(self._settings.bounds, value)
        now = time.time()
        exemplar: Exemplar | None = None
        if labels:
            exemplar = Exemplar(labels, value, now)
        elif sampled := self._sampler.sample(now, self._newest[place]):
            exemplar = exemplar_rules.Sampled(sampled, value, now)
        if exemplar is None:
            return
        self._newest[place] = exemplar
        if self._native is not None:
            self._spread = exemplar_rules.kept(self._spread, exemplar, now)

    def _drop_expired_exemplars(self) -> None:
        now, is_expired = time.time(), self._sampler.is_expired
        self._newest = [None if is_expired(each, now) else each for each in self._newest]
        self._spread = [each for each in self._spread if not is_expired(each, now)]

    def add_to(self, family: HistogramFamily, labels: dict[str, str]) -> None:
        """Add a consistent snapshot, labelled *labels*, to *family*."""
        with self._lock:
            self._reset_if_due()
            self._drop_expired_exemplars()
            counts, newest = list(self._counts), list(self._newest)
            count, total, created = self._total, self._sum, self._created
            if self._native is not None:
                native = self._native.snapshot(count, total)
                family.native.append((labels, native._replace(nh_exemplars=tuple(self._spread))))
        name = family.name
        bounds = zip(self._settings.bounds, accumulate(counts), newest, strict=True)
        family.samples += [
            *(
                Sample(f"{name}_bucket", {**labels, "le": go_float(bound)}, below, None, example)
                for bound, below, example in bounds
            ),
            Sample(f"{name}_count", labels, count),
            Sample(f"{name}_sum", labels, total),
            Sample(f"{name}_created", labels, created),
        ]


class _SharedHistogram(LabelledHistogram):
    """A label set in multiprocess mode: prometheus_client keeps it in a file."""

    def __init__(self, child: prometheus_client.Histogram) -> None:
        self._child = child

    @property
    def count(self) -> int:
        return int(self._sample("_count"))

    @property
    def sum(self) -> float:
        return self._sample("_sum")

    def _sample(self, suffix: str) -> float:
        [family] = self._child.collect()
        return next(float(s.value) for s in family.samples if s.name.endswith(suffix))

    def renew_lock(self) -> None:
        """Do nothing: prometheus_client does."""

    def observe(self, value: float, exemplar: Mapping[str, str] | None = None) -> None:
        if not math.isnan(value):
            self._child.observe(value, None if exemplar is None else dict(exemplar))


class Histogram:
    """A histogram, by default with both classic and native buckets.

    It registers in any ``prometheus_client`` registry. Text writers get its classic
    buckets; our protobuf push gets everything. Thread-safe. NaN is ignored.

    Args:
        name: Metric name; the unit is appended unless it ends with it.
        documentation: The help text.
        labelnames: Names of its labels.
        namespace: Goes before the name, with an underscore.
        subsystem: Goes between namespace and name.
        unit: Base unit, see :class:`Unit`.
        classic: Whether it has classic buckets; unless given, yes.
        native: Whether it has native buckets; unless given, yes.
        buckets: Upper bounds of the classic buckets; ``+Inf`` is added.
        schema: Resolution of the native buckets, -4 (coarse) to 8 (fine); 5 unless given.
        bucket_factor: The same as the largest factor between two bounds, such as 1.1.
        max_buckets: Populated native buckets before resolution is given up; 0 is no limit.
        min_zero_threshold: Values up to this size count as zero.
        max_zero_threshold: How far the zero bucket may grow instead.
        reset_after: Seconds until a histogram that lost resolution starts anew; 0 is never.
        exemplars: False switches exemplars off.
        registry: Where to register; None for nowhere.
        properties: See :class:`~pushgate.PushGateway`.

    Raises:
        ConfigurationError: The settings contradict each other.
        ValueError: The registry already has this name.

    Example:
        >>> sizes = Histogram("file_sizes", "Sizes", unit="bytes", registry=None)
        >>> sizes.observe(513)
        >>> sizes.count
        1
    """

    def __init__(  # noqa: PLR0913  settings of one thing, all by keyword
        self,
        name: str,
        documentation: str,
        labelnames: Iterable[str] = (),
        *,
        namespace: str = "",
        subsystem: str = "",
        unit: str = "",
        classic: bool | None = None,
        native: bool | None = None,
        buckets: Iterable[float] | None = None,
        schema: int | None = None,
        bucket_factor: float | None = None,
        max_buckets: int | None = None,
        min_zero_threshold: float | None = None,
        max_zero_threshold: float | None = None,
        reset_after: float | None = None,
        exemplars: bool | None = None,
        registry: CollectorRegistry | None = REGISTRY,
        properties: PrometheusProperties | Mapping[str, str] | Literal[False] | None = None,
    ) -> None:
        self._labelnames = _checked_labels(labelnames)
        full = "_".join(part for part in (namespace, subsystem, name) if part)
        self._name = full if not unit or full.endswith(f"_{unit}") else f"{full}_{unit}"
        self._documentation, self._unit = documentation, unit
        if bucket_factor is not None:
            schema = _schema_of(schema, bucket_factor)
        resolved = resolve(properties)
        self._settings = _settle(
            resolved,
            self._name,
            histogram_mode=_mode(classic=classic, native=native),
            histogram_classic_upper_bounds=None if buckets is None else tuple(buckets),
            histogram_native_initial_schema=schema,
            histogram_native_max_number_of_buckets=max_buckets,
            histogram_native_min_zero_threshold=min_zero_threshold,
            histogram_native_max_zero_threshold=max_zero_threshold,
            histogram_native_reset_duration_seconds=reset_after,
            exemplars_enabled=exemplars,
        )
        self._sampler = exemplar_rules.Sampler(resolved.exemplars)
        self._lock = Lock()
        self._children: dict[tuple[str, ...], LabelledHistogram] = {}
        self._shared = self._shared_histogram()
        if not self._labelnames:
            self._only = self._new_child(())
        if registry is not None:
            registry.register(self)
        _live.add(self)

    def renew_locks(self) -> None:
        """Replace the locks after a fork: other threads of the parent may hold them forever."""
        self._lock = Lock()
        for child in self._children.values():
            child.renew_lock()

    def _shared_histogram(self) -> prometheus_client.Histogram | None:
        """Return the classic histogram that processes share, in multiprocess mode."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return None
        _warn_once_about_multiprocess()
        return prometheus_client.Histogram(
            self._name,
            self._documentation,
            self._labelnames,
            buckets=self._settings.bounds,
            registry=None,
        )

    def _new_child(self, values: tuple[str, ...]) -> LabelledHistogram:
        if self._shared is None:
            child = LabelledHistogram(self._settings, self._sampler)
        else:
            child = _SharedHistogram(self._shared.labels(*values) if values else self._shared)
        self._children[values] = child
        return child

    def labels(self, *values: object, **named: object) -> LabelledHistogram:
        """Return the part of the histogram with these label values, all of them.

        Raises:
            ValueError: The values do not fit the label names.
        """
        if set(named) != (set() if values else set(self._labelnames)):
            raise ValueError(f"expected the labels {self._labelnames}, got {tuple(named)}")
        chosen = values or tuple(named[name] for name in self._labelnames)
        if len(chosen) != len(self._labelnames) or not chosen:
            raise ValueError(f"expected values for the labels {self._labelnames}")
        key = tuple(str(value) for value in chosen)
        with self._lock:
            return self._children.get(key) or self._new_child(key)

    def remove(self, *values: object) -> None:
        """Forget the part with these label values, if there is one."""
        with self._lock:
            self._children.pop(tuple(str(value) for value in values), None)

    def clear(self) -> None:
        """Forget every labelled part, or all observations if there are no labels."""
        with self._lock:
            self._children.clear()
            if not self._labelnames:
                self._only = self._new_child(())

    def observe(self, value: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Count *value*.

        Args:
            value: In the base unit.
            exemplar: Labels of an example to keep, at most 128 characters together.

        Raises:
            ValueError: The histogram has labels, or the exemplar is too long.
        """
        self._unlabelled().observe(value, exemplar)

    def time(self) -> "Timer":
        """Return what observes the seconds a ``with`` block or a (coroutine) function takes."""
        return self._unlabelled().time()

    @property
    def count(self) -> int:
        """Number of observations."""
        return self._unlabelled().count

    @property
    def sum(self) -> float:
        """Sum of the observed values."""
        return self._unlabelled().sum

    def _unlabelled(self) -> LabelledHistogram:
        if self._labelnames:
            raise ValueError(f"{self._name} has labels; use .labels({', '.join(self._labelnames)})")
        return self._only

    def describe(self) -> Iterator[Metric]:
        """Yield the family without samples; registries detect duplicates by it."""
        yield HistogramFamily(self._name, self._documentation, self._unit)

    def collect(self) -> Iterator[Metric]:
        """Yield a consistent snapshot of every label set."""
        if self._shared is not None:
            yield from self._shared.collect()
            return
        family = HistogramFamily(self._name, self._documentation, self._unit)
        family.native_only = self._settings.mode == "native"
        with self._lock:
            children = list(self._children.items())
        for values, child in children:
            child.add_to(family, dict(zip(self._labelnames, values, strict=True)))
        yield family


_live: WeakSet[Histogram] = WeakSet()


def _renew_all_locks() -> None:
    for histogram in _live:
        histogram.renew_locks()


os.register_at_fork(after_in_child=_renew_all_locks)


class Timer:
    """Observes how long something takes, in seconds; see :meth:`Histogram.time`."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._start = 0.0

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._observe(time.perf_counter() - self._start)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def timed_coroutine(*args: _P.args, **kwargs: _P.kwargs) -> Any:
                with Timer(self._observe):
                    return await function(*args, **kwargs)

            return timed_coroutine  # type: ignore[return-value]  # _R is the coroutine

        @wraps(function)
        def timed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with Timer(self._observe):
                return function(*args, **kwargs)

        return timed


def _checked_labels(names: Iterable[str]) -> tuple[str, ...]:
    names = tuple(names)
    for name in names:
        if not name or name == "le" or name.startswith("__"):
            raise ValueError(f"reserved label name: {name!r}")
    return names


def _mode(*, classic: bool | None, native: bool | None) -> Mode | None:
    if classic is None and native is None:
        return None
    match classic is not False, native is not False:
        case True, True:
            return "both"
        case True, False:
            return "classic"
        case False, True:
            return "native"
        case _:
            raise ConfigurationError("A histogram needs classic or native buckets.", key="classic")


def _schema_of(schema: int | None, factor: float) -> int:
    if schema is not None:
        raise ConfigurationError("Give schema or bucket_factor, not both.", key="bucket_factor")
    try:
        return schema_for(factor)
    except ValueError as error:
        raise ConfigurationError(str(error), key="bucket_factor") from None


def _settle(properties: PrometheusProperties, name: str, **code: Any) -> _Settings:
    """Return the settings of metric *name*: its own property, code, any property, default."""
    own, general = properties.metric(name), properties.metrics
    for setting, (argument, *keys) in _ARGUMENTS.items():
        runtime = getattr(own, setting)
        if code[setting] is not None and runtime not in (None, code[setting]):
            _log_override(name, argument, properties.origin(name, *keys or [setting]))

    def first(setting: str, default: Any) -> Any:
        found = (getattr(own, setting), code[setting], getattr(general, setting), default)
        return next((value for value in found if value is not None), None)

    low, high = _thresholds(
        first("histogram_native_min_zero_threshold", None),
        first("histogram_native_max_zero_threshold", None),
    )
    exemplars_off = code["exemplars_enabled"] is False
    return _checked(
        _Settings(
            mode=first("histogram_mode", "both"),
            bounds=_bounds(first("histogram_classic_upper_bounds", DEFAULT_BOUNDS)),
            schema=first("histogram_native_initial_schema", 5),
            max_buckets=first("histogram_native_max_number_of_buckets", 160),
            min_zero_threshold=low,
            max_zero_threshold=high,
            reset_after=first("histogram_native_reset_duration_seconds", 0),
            exemplars=not exemplars_off and first("exemplars_enabled", True),
        )
    )


# The argument of a setting that a property of the metric overrides, and its properties
# if they are not called like the setting.
_ARGUMENTS = {
    "histogram_mode": (
        "classic= or native=",
        "histogram_native_only",
        "histogram_classic_only",
    ),
    "histogram_classic_upper_bounds": ("buckets=",),
    "histogram_native_initial_schema": ("schema=",),
    "histogram_native_max_number_of_buckets": ("max_buckets=",),
    "histogram_native_min_zero_threshold": ("min_zero_threshold=",),
    "histogram_native_max_zero_threshold": ("max_zero_threshold=",),
    "histogram_native_reset_duration_seconds": ("reset_after=",),
}


@lru_cache(maxsize=1024)  # once in a process, as far as a program has that many histograms
def _log_override(name: str, argument: str, origin: str) -> None:
    _log.info("%s: %s is overridden by %s", name, argument, origin)


def _thresholds(low: float | None, high: float | None) -> tuple[float, float]:
    """Return the least and the largest zero threshold; one given alone takes the other along."""
    usual = DEFAULT_ZERO_THRESHOLD
    least = low if low is not None else usual if high is None else min(usual, high)
    return least, max(usual, least) if high is None else high


def _bounds(bounds: Iterable[float]) -> tuple[float, ...]:
    values = {float(bound) for bound in bounds}
    if any(map(math.isnan, values)):
        raise ConfigurationError("A bucket bound is not a number.", key="buckets")
    return tuple(sorted(values | {math.inf}))


def _checked(settings: _Settings) -> _Settings:
    if not MIN_SCHEMA <= settings.schema <= MAX_SCHEMA:
        raise ConfigurationError(
            f"schema: Expecting number between -4 and +8. Found: {settings.schema}", key="schema"
        )
    if not 0 <= settings.min_zero_threshold <= settings.max_zero_threshold:
        raise ConfigurationError(
            "min_zero_threshold must be at least 0 and at most max_zero_threshold.",
            key="min_zero_threshold",
        )
    if settings.max_buckets < 0 or settings.reset_after < 0:
        raise ConfigurationError("max_buckets and reset_after must not be negative.")
    if settings.mode == "native":
        return dataclass_replace(settings, bounds=(math.inf,))
    return settings


@cache
def _warn_once_about_multiprocess() -> None:
    _log.warning("Multiprocess mode: histograms have classic buckets only.")
