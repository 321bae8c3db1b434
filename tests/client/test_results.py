"""What a gateway says about itself and its groups."""

import pytest

from pushgate import (
    PushgatewayError,
)
from tests.client.rogue import answer, rogue
from tests.client.shared import STATUS


def test_status_groups_and_readiness(caller):
    groups = (
        b'{"status":"success","data":[{"labels":{"job":"j","a":""},"last_push_successful":true,'
        b'"rows":{"time_stamp":"x","type":"GAUGE","metrics":[]}}]}'
    )
    with rogue(answer(200, STATUS % b"1.11.3"), answer(200, groups), answer(200), answer(503)) as s:
        gateway = caller.make(s.url, retry=0)
        status = caller.call(gateway, "status")
        [group] = caller.call(gateway, "groups")
        assert caller.call(gateway, "ready")
        assert not caller.call(gateway, "ready")
    assert (status.version, status.flags, status.keeps_utf8_names) == ("1.11.3", {"a": "b"}, True)
    assert (group.labels, group.families) == ({"job": "j", "a": ""}, ("rows",))
    paths = ["/api/v1/status", "/api/v1/metrics", "/-/ready", "/-/ready"]
    assert [request.path for request in s.seen] == paths


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": 1}', b'{"data": [{"a": 1}]}'])
@pytest.mark.parametrize("method", ["status", "groups"])
def test_what_is_no_gateway_is_told_from_one(caller, body, method):
    with rogue(answer(200, body)) as server:
        gateway = caller.make(server.url)
        with pytest.raises(PushgatewayError, match="not what a Pushgateway answers"):
            caller.call(gateway, method)
