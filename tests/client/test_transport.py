import pytest

from pushgate import ConfigurationError, PushAuthError, PushGateway
from tests.client.rogue import answer, rogue


def test_a_proxy_that_refuses_is_an_error_of_the_credentials():
    with rogue(answer(407)) as proxy:
        for url in ("http://h:1", "https://h:1"):
            with pytest.raises(PushAuthError) as caught:
                PushGateway(url, proxy=proxy.url, retry=0, properties=False).delete()
            assert caught.value.status == 407


@pytest.mark.parametrize("address", ["h:99999", "h:0", "https://h:65536/x"])
def test_a_port_out_of_range_is_a_clear_error(address):
    with pytest.raises(ConfigurationError, match=r"port is \d+; expecting 1 to 65535"):
        PushGateway(address, job="j", properties=False)
