"""A histogram with classic buckets, native buckets, or both."""

import inspect
import math
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import wraps
from itertools import accumulate
from threading import RLock
from typing import Any, Literal, ParamSpec, Self, TypeVar
from weakref import WeakSet

import prometheus_client
from prometheus_client.core import Metric
from prometheus_client.registry import REGISTRY, CollectorRegistry
from prometheus_client.samples import Exemplar, NativeHistogram, Sample

from pushgate.errors import ConfigurationError
from pushgate.instruments import exemplars as exemplar_rules
from pushgate.instruments.native import DEFAULT_ZERO_THRESHOLD, NativeBuckets, schema_for
from pushgate.log import log_once
from pushgate.model.native import MAX_SCHEMA, MIN_SCHEMA
from pushgate.model.numbers import go_float
from pushgate.properties import PrometheusProperties, resolve

_P = ParamSpec("_P")
_R = TypeVar("_R")
_LOGGER = "pushgate.instruments"
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

    # Registries call it for names given to restricted_registry(), although its name is private.
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
        # A signal handler, or a destructor, may observe while its own thread does.
        self._lock = RLock()
        _locked.add(self)
        self._native: NativeBuckets | None = None
        if settings.mode != "classic":
            self._native = NativeBuckets(
                settings.schema,
                settings.max_buckets,
                settings.min_zero_threshold,
                settings.max_zero_threshold,
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

    def _clear(self) -> None:
        bounds = self._settings.bounds
        self._total, self._sum = 0, 0.0
        # Not cumulative, so that an observation changes one number. add_to() adds them up.
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
        """Return a timer for a ``with`` block or a (coroutine) function, in seconds."""
        return Timer(self.observe)

    def observe(self, value: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Count *value*; see :meth:`Histogram.observe`."""
        # Checked before anything is counted: a refused observation leaves nothing behind.
        value = float(value)
        if math.isnan(value):
            return
        labels = None if exemplar is None else exemplar_rules.checked(exemplar)
        with self._lock:
            self._reset_if_due()
            # As in client_java: with too many buckets it starts over, if that is due.
            if self._count(value) and self._native is not None:
                if time.monotonic() >= self._reset_at:
                    self._clear()
                    self._count(value)
                else:
                    self._native.shrink()
            if self._settings.exemplars:
                self._keep_exemplar(value, labels)

    def _count(self, value: float) -> bool:
        """Count *value*; return whether there now are too many native buckets."""
        self._total += 1
        self._sum += value
        self._counts[bisect_left(self._settings.bounds, value)] += 1
        return self._native is not None and self._native.observe(value)

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

    def add_to(self, family: HistogramFamily, labels: dict[str, str]) -> None:
        """Add a consistent snapshot, labelled *labels*, to *family*."""
        with self._lock:
            self._reset_if_due()
            now, is_expired = time.time(), self._sampler.is_expired
            self._newest = [None if is_expired(each, now) else each for each in self._newest]
            self._spread = [each for each in self._spread if not is_expired(each, now)]
            # Copied under the lock; samples are made of the copies after it.
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

    def observe(self, value: float, exemplar: Mapping[str, str] | None = None) -> None:
        if not math.isnan(value := float(value)):
            self._child.observe(value, None if exemplar is None else dict(exemplar))


class Histogram:
    """A histogram, by default with both classic and native buckets.

    It can be registered in any ``prometheus_client`` registry. Text has only its classic buckets;
    protobuf, which is pushed by default, has both. Thread-safe. Observations of NaN are ignored.

    Args:
        name: Metric name. The unit is appended unless it ends with it.
        documentation: The help text.
        labelnames: Names of its labels.
        namespace: Goes before the name, with an underscore.
        subsystem: Goes between namespace and name.
        unit: Base unit, see :class:`Unit`.
        classic: Whether it has classic buckets. Defaults to True.
        native: Whether it has native buckets. Defaults to True.
        buckets: Upper bounds of the classic buckets, to which ``+Inf`` is added.
        schema: Resolution of the native buckets, from -4 (coarse) to 8 (fine). Defaults to 5.
        bucket_factor: The resolution as the largest factor between two bounds, such as 1.1.
        max_buckets: Number of populated native buckets beyond which the resolution is reduced; 0
            sets no limit.
        min_zero_threshold: Values up to this size count as zero.
        max_zero_threshold: Up to where the zero bucket may grow before resolution is reduced.
        reset_after: Seconds after which a histogram that has lost resolution starts over; 0 is
            never.
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

    _is_of_all_processes = True  # in multiprocess mode

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
        self._labelnames = tuple(labelnames)
        for label in self._labelnames:
            if not label or label == "le" or label.startswith("__"):
                raise ValueError(f"reserved label name: {label!r}")
        full = "_".join(part for part in (namespace, subsystem, name) if part)
        self._name = full if not unit or full.endswith(f"_{unit}") else f"{full}_{unit}"
        self._documentation, self._unit = documentation, unit
        if bucket_factor is not None:
            if schema is not None:
                message = "Give schema or bucket_factor, not both."
                raise ConfigurationError(message, key="bucket_factor")
            schema = schema_for(bucket_factor)
        resolved = resolve(properties)
        self._settings = _settings_of(
            resolved,
            self._name,
            mode=_mode(classic=classic, native=native),
            bounds=None if buckets is None else tuple(buckets),
            schema=schema,
            max_buckets=max_buckets,
            min_zero_threshold=min_zero_threshold,
            max_zero_threshold=max_zero_threshold,
            reset_after=reset_after,
            exemplars=exemplars,
        )
        self._sampler = exemplar_rules.Sampler(resolved.exemplars)
        self._lock = RLock()
        self._children: dict[tuple[str, ...], LabelledHistogram] = {}
        # In multiprocess mode: the classic histogram that processes share.
        self._shared: prometheus_client.Histogram | None = None
        if self._is_of_all_processes and "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            log_once(
                "warning",
                "Multiprocess mode: histograms have classic buckets only.",
                logger=_LOGGER,
            )
            self._shared = prometheus_client.Histogram(
                self._name,
                documentation,
                self._labelnames,
                buckets=self._settings.bounds,
                registry=None,
            )
        # Without labels the series is there from the start, at 0, as in every client library.
        if not self._labelnames:
            self._only = self._new_child(())
        # Last, because from here on other threads may collect it.
        if registry is not None:
            registry.register(self)
        _locked.add(self)

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
        """Return a timer for a ``with`` block or a (coroutine) function, in seconds."""
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
        """Yield the family without samples, by which registries detect duplicates."""
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


class RunHistogram(Histogram):
    """A histogram of a single run of a job, which is in memory in multiprocess mode, too."""

    _is_of_all_processes = False


# Their locks are replaced in a forked child: another thread of the parent may hold one forever.
_locked: WeakSet[Histogram | LabelledHistogram] = WeakSet()


def _renew_locks() -> None:
    for one in _locked:
        one._lock = RLock()  # noqa: SLF001 - both classes are of this module


os.register_at_fork(after_in_child=_renew_locks)


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


def _mode(*, classic: bool | None, native: bool | None) -> Mode | None:
    if classic is False and native is False:
        raise ConfigurationError("A histogram needs classic or native buckets.", key="classic")
    if classic is None and native is None:
        return None
    if native is False:
        return "classic"
    return "native" if classic is False else "both"


# Setting: its property, the argument that sets it in code, and what it is otherwise.
_SETTINGS: Mapping[str, tuple[str, str, Any]] = {
    "mode": ("histogram_mode", "classic= or native=", "both"),
    "bounds": ("histogram_classic_upper_bounds", "buckets=", DEFAULT_BOUNDS),
    "schema": ("histogram_native_initial_schema", "schema=", 5),
    "max_buckets": ("histogram_native_max_number_of_buckets", "max_buckets=", 160),
    "min_zero_threshold": ("histogram_native_min_zero_threshold", "min_zero_threshold=", None),
    "max_zero_threshold": ("histogram_native_max_zero_threshold", "max_zero_threshold=", None),
    "reset_after": ("histogram_native_reset_duration_seconds", "reset_after=", 0),
    "exemplars": ("exemplars_enabled", "exemplars=", True),
}
# Settings that are made of properties of other names.
_MADE_OF = {"histogram_mode": ("histogram_native_only", "histogram_classic_only")}


def _settings_of(properties: PrometheusProperties, name: str, **code: Any) -> _Settings:
    """Return the settings of metric *name*: its own property, code, any property, default."""
    own, general = properties.metric(name), properties.metrics
    found: dict[str, Any] = {}
    for setting, (prop, argument, default) in _SETTINGS.items():
        runtime, given = getattr(own, prop), code[setting]
        ranked = (runtime, given, getattr(general, prop))
        found[setting] = next((value for value in ranked if value is not None), default)
        if given is not None and runtime not in (None, given) and setting != "exemplars":
            origin = properties.origin(name, *_MADE_OF.get(prop, (prop,)))
            log_once("info", f"{name}: {argument} is overridden by {origin}", logger=_LOGGER)
    # No property switches them on again: a program that says no may not afford them.
    if code["exemplars"] is False:
        found["exemplars"] = False
    # If only one threshold is given, the other follows, so that they never contradict.
    low, high = found["min_zero_threshold"], found["max_zero_threshold"]
    if low is None:
        low = DEFAULT_ZERO_THRESHOLD if high is None else min(DEFAULT_ZERO_THRESHOLD, high)
    high = max(DEFAULT_ZERO_THRESHOLD, low) if high is None else high
    found |= {"min_zero_threshold": low, "max_zero_threshold": high}
    bounds = {float(bound) for bound in found["bounds"]}
    if any(map(math.isnan, bounds)):
        raise ConfigurationError("A bucket bound is not a number.", key="buckets")
    is_native = found["mode"] == "native"
    found["bounds"] = (math.inf,) if is_native else tuple(sorted(bounds | {math.inf}))
    settings = _Settings(**found)
    _check(settings)
    return settings


def _check(settings: _Settings) -> None:
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
