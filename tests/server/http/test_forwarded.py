from ipaddress import ip_network

import pytest

from pushgate.server.http.forwarded import asked_for

TRUSTED = (ip_network("10.0.0.0/8"),)
SAID = [
    (b"host", b"inner"),
    (b"x-forwarded-host", b"metrics.example, inner.example"),
    (b"x-forwarded-proto", b"HTTPS"),
]


@pytest.mark.parametrize(
    ("client", "found"),
    [
        (("10.1.2.3", 4711), ("https", "metrics.example")),
        (("::ffff:10.1.2.3", 4711), ("https", "metrics.example")),
        (None, ("https", "metrics.example")),  # over a Unix socket
        (("192.0.2.1", 4711), ("", "inner")),
    ],
)
def test_only_a_trusted_proxy_says_what_the_browser_asked_for(client, found):
    assert asked_for({"headers": SAID, "client": client}, TRUSTED) == found


def test_a_proxy_that_says_nothing_leaves_the_host_of_the_request():
    assert asked_for({"headers": SAID[:1], "client": None}, ()) == ("", "inner")
