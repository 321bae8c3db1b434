"""Which metrics a push takes: a registry, chosen collectors, all processes.

prometheus_client is imported when metrics are collected: the command line pushes without.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

from pushgate.errors import ConfigurationError, EncodingError, PushgatewayError
from pushgate.log import warn_once
from pushgate.properties.schema import FilterProperties

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Multiprocess = Literal["auto"] | bool
LeftOut = Callable[[EncodingError], object]
"""Called with the error of each metric that is left out because it cannot be pushed."""

# Of counters and infos.
_SUFFIXES = ("", "_total", "_info")


@runtime_checkable
class Collector(Protocol):
    """Anything that yields prometheus_client metrics: a registry, an instrument."""

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        ...


Collectors: TypeAlias = Collector | Iterable[Collector]


class Selection(NamedTuple):
    """What one push takes. It can be collected again, for a gateway that reads only text.

    Attributes:
        collectors: Instead of the registry.
        names: Only metrics with these names.
        exclude: Returns whether to leave out the metric of this name.
        left_out: Called with the error of each metric that cannot be pushed, which is then
            left out. Without it the first such error is raised.
    """

    collectors: Sequence[Collector] | None = None
    names: Container[str] | None = None
    exclude: Callable[[str], bool] | None = None
    left_out: LeftOut | None = None

    @classmethod
    def of(
        cls,
        collectors: Collectors | None,
        names: Iterable[str] | None,
        exclude: Callable[[str], bool] | None,
    ) -> Self:
        """Return what the arguments of a push select; an iterator is read here, once."""
        if collectors is not None:
            collectors = [collectors] if isinstance(collectors, Collector) else list(collectors)
        if names is not None:
            names = {names} if isinstance(names, str) else set(names)
        return cls(collectors, names, exclude)


class Source(NamedTuple):
    """The metrics of a gateway, for pushes that do not name collectors."""

    registry: Collector | None
    include_default_collectors: bool
    multiprocess: Multiprocess
    filter: FilterProperties | None

    def metrics(self, selection: Selection) -> Iterator[Metric]:
        """Yield the metrics that *selection* takes.

        Raises:
            EncodingError: A collector failed, or a file of a process cannot be read; the
                message names it.
        """
        wanted, exclude = selection.names, selection.exclude
        for metric in self._all(selection.collectors, selection.left_out):
            name = getattr(metric, "name", "")  # what has none is named by gather()
            # prometheus_client calls a metric by its name without the suffix of the exposition.
            if (
                (wanted is None or any(f"{name}{suffix}" in wanted for suffix in _SUFFIXES))
                and not (exclude and exclude(name))
                and (self.filter is None or self.filter.allows(name))
            ):
                yield metric

    def _all(
        self, collectors: Sequence[Collector] | None, left_out: LeftOut | None
    ) -> Iterator[Metric]:
        if collectors is not None:
            for collector in collectors:
                yield from _collected(collector, left_out)
            return
        from prometheus_client.registry import REGISTRY

        registry = REGISTRY if self.registry is None else self.registry
        of_all_processes = self.multiprocess
        if of_all_processes == "auto":
            of_all_processes = registry is REGISTRY and "PROMETHEUS_MULTIPROC_DIR" in os.environ
        if of_all_processes:
            yield from _of_all_processes()
            return
        hides = registry is REGISTRY and not self.include_default_collectors
        hidden = _built_in() if hides else frozenset()
        for metric in _collected(registry, left_out):
            if getattr(metric, "name", "") not in hidden:
                yield metric


def described(error: Exception) -> str:
    """Return the type and the message of an error in foreign code."""
    return f"{type(error).__name__}: {error}"


def report(error: EncodingError, left_out: LeftOut | None, cause: Exception) -> None:
    """Give *error* to *left_out*, or raise it."""
    if left_out is None:
        raise error from cause
    left_out(error)


def _collected(source: Collector, left_out: LeftOut | None) -> Iterator[Metric]:
    """Yield the metrics of *source*, which may be a registry of many collectors."""
    for collector in _collectors_in(source):
        try:
            yield from collector.collect()
        except PushgatewayError:
            raise
        except Exception as error:  # noqa: BLE001  collectors are not our code
            failed = f"The collector {_name_of(collector, error)} failed: {described(error)}"
            report(EncodingError(failed), left_out, error)


def _collectors_in(source: Collector) -> Sequence[Collector]:
    """Return the collectors of a registry, because the error of one ends its ``collect()``."""
    from prometheus_client.registry import CollectorRegistry

    if type(source) is not CollectorRegistry:
        return (source,)
    info = [source.restricted_registry(["target_info"])] if source.get_target_info() else []
    return (*info, *source._collector_to_names)  # noqa: SLF001  nothing public lists them


def _name_of(collector: Collector, error: Exception) -> str:
    """Return the name of an instrument, or that of the function of *collector* that failed."""
    import traceback

    from prometheus_client.metrics import MetricWrapperBase

    if isinstance(collector, MetricWrapperBase):
        return str(collector._name)  # noqa: SLF001
    # The first frame outside of this module and of a registry is the collector's own.
    where = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    between = {__name__, "prometheus_client.registry"}
    own = [frame for frame in where if frame.f_globals.get("__name__") not in between]
    return own[0].f_code.co_qualname if own else type(collector).__qualname__


def _of_all_processes() -> Iterator[Metric]:
    from prometheus_client.multiprocess import MultiProcessCollector
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise ConfigurationError(
            "PROMETHEUS_MULTIPROC_DIR must name a directory that exists.", key="multiprocess"
        ) from error
    try:
        metrics = list(registry.collect())
    except Exception as error:
        # A worker that is killed while it writes leaves an empty or an incomplete file.
        raise EncodingError(
            f"The multiprocess file {_unreadable_file() or 'of a worker'} cannot be read"
            f" ({described(error)}); delete it if its process is gone"
        ) from error
    for metric in metrics:
        if any("pid" in sample.labels for sample in metric.samples):
            warn_once(
                f"The gauge {metric.name} has a series per process, forever;"
                " give it a multiprocess_mode such as 'max' or 'livesum'."
            )
        yield metric


def _unreadable_file() -> str | None:
    """Return the first file of the multiprocess directory that prometheus_client cannot read."""
    from pathlib import Path

    from prometheus_client.mmap_dict import MmapedDict

    for path in sorted(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db")):
        try:
            for _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
                pass
        except Exception:  # noqa: BLE001  whatever it is, it is this file
            return str(path)
    return None


@lru_cache(maxsize=1)
def _built_in() -> frozenset[str]:
    """Return the names of the metrics that prometheus_client registers by itself.

    They describe this process, which is gone by the time that Prometheus scrapes them.
    """
    import prometheus_client

    collectors = (
        prometheus_client.PROCESS_COLLECTOR,
        prometheus_client.PLATFORM_COLLECTOR,
        prometheus_client.GC_COLLECTOR,
    )
    return frozenset(metric.name for collector in collectors for metric in collector.collect())
