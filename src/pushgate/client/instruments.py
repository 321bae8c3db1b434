"""Counters and gauges of a single run of a job.

In multiprocess mode, prometheus_client keeps metrics in files of the process: the next run in it
would go on with the counts of the last. These are in memory in every mode.
"""

import time

from prometheus_client import Counter, Gauge
from prometheus_client.values import MutexValue


class _InMemory:
    def _metric_init(self) -> None:
        """Prepare one set of labels, which prometheus_client would do in a file."""
        self._value = MutexValue("", "", "", (), (), "")  # type: ignore[no-untyped-call]
        self._created = time.time()


class RunCounter(_InMemory, Counter):
    """A counter of one run."""


class RunGauge(_InMemory, Gauge):
    """A gauge of one run."""
