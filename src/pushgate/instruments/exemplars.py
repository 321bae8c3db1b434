"""Which exemplars a histogram keeps, and where they come from."""

import math
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from prometheus_client.samples import Exemplar

from pushgate.properties.schema import ExemplarProperties

# OpenMetrics allows 128 characters in the names and values of an exemplar's labels.
MAX_CHARACTERS = 128
# Of a native histogram, as in client_golang.
MAX_NATIVE = 10
# Seconds after which an exemplar is the first to be replaced, as in client_golang.
_TTL = 300.0


def checked(labels: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of *labels*, or raise ValueError if they are too long for an exemplar."""
    size = sum(len(name) + len(value) for name, value in labels.items())
    if size > MAX_CHARACTERS:
        raise ValueError(f"exemplar labels have {size} characters, more than {MAX_CHARACTERS}")
    return dict(labels)


def kept(exemplars: Sequence[Exemplar], new: Exemplar, now: float) -> list[Exemplar]:
    """Return *exemplars* with *new*, spread over the range of values.

    If there are more than 10, the oldest is dropped if it is older than 5 minutes. Otherwise the
    older one of the two that are closest on a logarithmic scale is dropped.
    """
    every = sorted((*exemplars, new), key=lambda exemplar: exemplar.value)
    if len(every) <= MAX_NATIVE:
        return every
    oldest = min(every, key=_age)
    if now - _age(oldest) > _TTL:
        every.remove(oldest)
    else:
        closest = min(pairwise(every), key=_distance)
        every.remove(min(*closest, key=_age))
    return every


def _age(exemplar: Exemplar) -> float:
    return float(exemplar.timestamp or 0.0)


def _distance(pair: tuple[Exemplar, Exemplar]) -> float:
    low, high = pair[0].value, pair[1].value
    if low == high:
        return 0.0
    # Logarithms need a common sign, and no infinities.
    if low * high <= 0 or math.isinf(low) or math.isinf(high):
        return math.inf
    return abs(math.log(abs(high)) - math.log(abs(low)))


class Sampled(Exemplar):
    """An exemplar of the current trace. Unlike one given by code, it is dropped when it is old."""

    __slots__ = ()


class Sampler:
    """Exemplars from the current OpenTelemetry span, within the limits of the properties.

    OpenTelemetry is not imported: a program that traces has imported it.
    """

    def __init__(self, limits: ExemplarProperties) -> None:
        milliseconds = limits.sample_interval_milliseconds
        self._interval = (90 if milliseconds is None else milliseconds) / 1000
        self._min_retention = limits.min_retention_period_seconds or 7
        self._max_retention = limits.max_retention_period_seconds or 70
        self._next = -math.inf

    def is_expired(self, exemplar: Exemplar | None, now: float) -> bool:
        """Return whether *exemplar* was sampled, and too long before *now*."""
        return isinstance(exemplar, Sampled) and now - _age(exemplar) > self._max_retention

    def sample(self, now: float, current: Exemplar | None) -> dict[str, str] | None:
        """Return the labels of an exemplar *now*, in seconds, to replace *current*; or None."""
        trace: Any = sys.modules.get("opentelemetry.trace")
        if trace is None or now < self._next:
            return None
        if current is not None and now - _age(current) < self._min_retention:
            return None
        span = trace.get_current_span()
        context = span.get_span_context()
        if not (context.is_valid and context.trace_flags.sampled):
            return None
        # The interval is that of all buckets and label sets of the histogram together.
        self._next = now + self._interval
        # As client_java does: a tracing back end can find spans that are exemplars.
        span.set_attribute("exemplar", "true")
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
