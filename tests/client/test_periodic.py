import logging
import math

import pytest

from pushgate import ConfigurationError, PushGateway
from tests.client.rogue import answer, rogue
from tests.client.shared import Counted


@pytest.mark.parametrize(("final", "method"), [("push", "PUT"), ("delete", "DELETE"), (None, None)])
def test_it_pushes_until_the_block_ends(final, method):
    counted = Counted(3)
    with rogue() as server:
        gateway = PushGateway(server.url, job="j", registry=counted, properties=False)
        with gateway.periodic(0.01, final=final) as pusher:
            assert counted.enough.wait(10)
        methods = [request.method for request in server.seen]
    assert len(methods) >= 3
    assert methods[-1] == (method or "PUT")
    assert pusher.last_success is not None
    assert pusher.consecutive_failures == 0


@pytest.mark.parametrize("interval", [1e11, math.inf])
def test_an_interval_may_be_longer_than_a_thread_can_wait(interval):
    with rogue() as server:
        gateway = PushGateway(server.url, job="j", registry=Counted(1), properties=False)
        with gateway.periodic(interval):
            pass
        assert [request.method for request in server.seen] == ["PUT"]


def test_errors_do_not_stop_it_and_are_not_repeated(caplog):
    caplog.set_level(logging.INFO, "pushgate.client")
    counted = Counted(4)
    with rogue(answer(400), answer(400), answer(200)) as server:
        gateway = PushGateway(server.url, job="j", registry=counted, properties=False)
        with gateway.periodic(0.01):
            assert counted.enough.wait(10)
    messages = [record.message for record in caplog.records if "period" in record.message]
    assert len(messages) == 1
    assert "pushing works again after 2 failures" in caplog.text


@pytest.mark.parametrize(
    ("interval", "jitter"), [(0, 0.1), (-1, 0.1), (None, 0.1), (1, 1.5), (1, "0.1"), (1, None)]
)
def test_impossible_intervals_are_refused(interval, jitter):
    with pytest.raises(ConfigurationError):
        PushGateway(properties=False).periodic(interval, jitter=jitter)


@pytest.mark.parametrize("final", [False, "none", "Push", ["push"]])
def test_a_misspelled_end_deletes_no_group(final):
    with pytest.raises(ConfigurationError, match="final: expecting 'push', 'delete' or None"):
        PushGateway(properties=False).periodic(1, final=final)
