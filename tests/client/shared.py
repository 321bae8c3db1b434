"""What tests of several modules of the client need."""

import threading

import pytest
from prometheus_client import Gauge
from prometheus_client.core import Metric

from pushgate import PushgatewayError, Retry
from tests.metrics_proto import decode

QUICK = Retry(attempts=3, base=0.001, cap=0.002)


def fails(caller, gateway, *, method="push", **options):
    with pytest.raises(PushgatewayError) as caught:
        caller.call(gateway, method, **options)
    return caught.value


def make(caller, url, registry, **options):
    return caller.make(url, job="j", registry=registry, **{"retry": QUICK, **options})


def gauge_values(server):
    return [decode(request.body)[0].metric[0].gauge.value for request in server.seen]


def values(request):
    return {
        family.name: metric.gauge.value
        for family in decode(request.body)
        for metric in family.metric
        if family.type == 1
    }


class Odd:
    def collect(self):
        metric = Metric("odd_summary", "", "summary")
        metric.add_sample("odd_summary", {"quantile": "50%"}, 1)
        return [metric, Gauge("even", "", registry=None).collect()[0]]


class Counted:
    """A collector that tells when it has been asked so often."""

    def __init__(self, times):
        self.left = times
        self.enough = threading.Event()

    def collect(self):
        self.left -= 1
        if self.left <= 0:
            self.enough.set()
        return []


STATUS = (
    b'{"status":"success","data":{"build_information":{"version":"%s"},"flags":{"a":"b"},'
    b'"start_time":"2026-01-01T00:00:00Z"}}'
)
