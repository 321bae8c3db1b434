import httpx2
from prometheus_client import CollectorRegistry, Gauge

from pushgate import Histogram, PushGateway
from pushgate.testing import gateway


def test_users_can_look_at_what_their_job_pushed():
    registry = CollectorRegistry()
    Gauge("rows", "Rows", ["table"], registry=registry).labels("a").set(3)
    Histogram("size", "Sizes", classic=False, registry=registry).observe(2)
    with gateway() as pushed:
        client = PushGateway(pushed.url, job="nightly", registry=registry, properties=False)
        client.push()
        samples = pushed.samples()
        assert [group.labels for group in client.groups()] == [{"job": "nightly"}]
        client.delete()
        assert pushed.samples() == {}
    assert samples['rows{instance="",job="nightly",table="a"}'] == 3
    assert samples['size_count{instance="",job="nightly"}'] == 1


def test_the_keys_of_samples_are_written_as_in_the_text_format():
    rows = Gauge("rows", "Rows", ["table"], registry=None)
    rows.labels('C:\\"new"\n').set(3)
    with gateway() as pushed:
        PushGateway(pushed.url, job="j", properties=False).push(rows)
        [key] = pushed.samples()
        assert f"{key} 3\n" in pushed.exposition()


def test_it_refuses_what_a_gateway_with_its_defaults_refuses():
    with gateway() as pushed:
        refused = httpx2.put(
            f"{pushed.url}/metrics/job/nightly", content='{"süß"} 1\n', trust_env=False
        )
        assert refused.status_code == 400
        assert "invalid metric name" in refused.text


def test_gateways_do_not_share_anything():
    with gateway() as one, gateway() as two:
        PushGateway(one.url, job="a", properties=False).push_add(Gauge("g", "", registry=None))
        assert list(one.samples()) == ['g{instance="",job="a"}']
        assert two.samples() == {}
