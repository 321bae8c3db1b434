"""The client against real gateways, ours and the Go server: both take and refuse the same."""

from urllib.error import HTTPError

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from pushgate import AsyncPushGateway, Gauge, PushGateway, PushRejectedError, compat
from tests import services
from tests.interop.stored import groups, samples
from tests.waiting import until


@pytest.fixture(scope="module", params=["ours", "go"])
def gateway(request):
    start = services.pushgate if request.param == "ours" else services.go_pushgateway
    with start() as service:
        yield service


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    Gauge("rows", "Rows.", registry=registry).set(3)
    return registry


class Collecting:
    def __init__(self, *metrics):
        self.metrics = metrics

    def collect(self):
        return self.metrics


def gauge(name, timestamp=None):
    family = GaugeMetricFamily(name, "")
    family.add_metric([], 1, timestamp=timestamp)
    return family


KEYS = [
    {},
    {"path": "/var/log dir/ü", "blank": "a b", "empty": "", "other": "ü%"},
    {"number": 3, "none": None},
]


@pytest.mark.parametrize("key", KEYS)
def test_compat_and_prometheus_client_fill_and_delete_the_same_group(gateway, registry, key):
    expected = {"job": "my job", **{name: str(value) for name, value in key.items()}}
    for here, there in ((compat, prometheus_client), (prometheus_client, compat)):
        here.push_to_gateway(gateway.url, "my job", registry, key)
        assert groups(gateway).count(expected) == 1
        there.delete_from_gateway(gateway.url, "my job", key)
        # The Go server answers a deletion before it is done.
        until(lambda: expected not in groups(gateway), reason="the group was not deleted")


@pytest.mark.parametrize(
    "metrics",
    [
        pytest.param([gauge("stamped", timestamp=1.5)], id="timestamp"),
        pytest.param([gauge("twice"), gauge("twice")], id="duplicate"),
    ],
)
def test_what_a_gateway_refuses_is_an_http_error_with_its_words(gateway, metrics):
    with pytest.raises(HTTPError, match="response body: ") as caught:
        compat.push_to_gateway(gateway.url, "refused", Collecting(*metrics))
    assert caught.value.code == 400
    assert isinstance(caught.value, PushRejectedError)


def test_a_job_pushes_what_can_be_pushed(gateway, caplog):
    odd = Metric("odd_summary", "", "summary")
    odd.add_sample("odd_summary", {"quantile": "50%"}, 1)

    @PushGateway(gateway.url, properties=False).job_run("odd_job", include=[Collecting(odd)])
    def work():
        return "done"

    assert work() == "done"
    assert samples(gateway, {"job": "odd_job"})["batch_job_success",] == 1
    assert "odd_summary cannot be pushed" in caplog.text


@pytest.mark.anyio
async def test_the_gateway_for_asyncio_pushes_reads_and_deletes(gateway, registry, anyio_backend):
    async with AsyncPushGateway(
        gateway.url, job="awaited", grouping_key={"a": "b/c"}, registry=registry, properties=False
    ) as pushed:
        assert (await pushed.push()).status == 200
        assert samples(gateway, {"job": "awaited", "a": "b/c"}) == {("rows",): 3}
        held = [group.labels for group in await pushed.groups()]
        assert {"job": "awaited", "a": "b/c"} in held
        assert (await pushed.delete()).status == 202
    until(lambda: {"job": "awaited", "a": "b/c"} not in groups(gateway))


@pytest.mark.parametrize("start", [services.pushgate, services.go_pushgateway])
def test_utf8_names_are_kept_as_they_are(start):
    collecting = Collecting(gauge("http.size"))
    with start("--push.enable-utf8-names") as service:
        PushGateway(service.url, job="utf8", escaping_scheme="allow-utf-8", properties=False).push(
            collecting
        )
        assert samples(service, {"job": "utf8"})["http.size",] == 1
