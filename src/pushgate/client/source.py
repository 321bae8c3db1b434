"""Which metrics a push takes: a registry, chosen collectors, chosen names."""

import os
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import prometheus_client
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY, CollectorRegistry

from pushgate.client.settings import warn_once
from pushgate.errors import ConfigurationError
from pushgate.properties.schema import FilterProperties

Multiprocess = Literal["auto"] | bool


@runtime_checkable
class Collector(Protocol):
    """Anything that yields prometheus_client metrics: a registry, an instrument."""

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        ...


Collectors: TypeAlias = Collector | Iterable[Collector]


@dataclass(frozen=True, slots=True)
class Source:
    """What a gateway pushes unless a push names collectors."""

    registry: Collector | None
    include_default_collectors: bool
    multiprocess: Multiprocess
    filter: FilterProperties | None

    def metrics(
        self,
        collectors: Collectors | None = None,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
    ) -> Iterator[Metric]:
        """Yield the metrics to push.

        Args:
            collectors: These instead of the registry.
            names: Only metrics called so.
            exclude: None for whose name this is true.
        """
        wanted: Container[str] | None = None if names is None else frozenset(names)
        for metric in self._all(collectors):
            name = metric.name
            if (
                (wanted is None or name in wanted or f"{name}_total" in wanted)
                and not (exclude and exclude(name))
                and (self.filter is None or self.filter.allows(name))
            ):
                yield metric

    def _all(self, collectors: Collectors | None) -> Iterator[Metric]:
        if collectors is not None:
            for collector in _each(collectors):
                yield from collector.collect()
            return
        registry = REGISTRY if self.registry is None else self.registry
        if self._is_multiprocess(registry):
            yield from _of_all_processes()
        elif registry is REGISTRY and not self.include_default_collectors:
            yield from (m for m in registry.collect() if m.name not in _built_in())
        else:
            yield from registry.collect()

    def _is_multiprocess(self, registry: Collector) -> bool:
        if self.multiprocess != "auto":
            return self.multiprocess
        return registry is REGISTRY and "PROMETHEUS_MULTIPROC_DIR" in os.environ


def _each(collectors: Collectors) -> Iterable[Collector]:
    if isinstance(collectors, Collector):
        return (collectors,)
    return collectors


def _of_all_processes() -> Iterator[Metric]:
    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise ConfigurationError(
            "PROMETHEUS_MULTIPROC_DIR must name a directory that exists.", key="multiprocess"
        ) from error
    for metric in registry.collect():
        if any("pid" in sample.labels for sample in metric.samples):
            warn_once(
                f"The gauge {metric.name} has a series per process, forever;"
                " give it a multiprocess_mode such as 'max' or 'livesum'."
            )
        yield metric


@lru_cache(maxsize=1)
def _built_in() -> frozenset[str]:
    """Return what prometheus_client registers by itself: about this process, soon gone."""
    collectors = (
        prometheus_client.PROCESS_COLLECTOR,
        prometheus_client.PLATFORM_COLLECTOR,
        prometheus_client.GC_COLLECTOR,
    )
    return frozenset(metric.name for collector in collectors for metric in collector.collect())
