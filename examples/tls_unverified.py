"""Push over TLS without looking at the certificate: python tls_unverified.py https://GATEWAY.

Only for tests: anybody between you and the gateway can read and change what you push.
`verify=False` would do; this shows how to bring connections of your own, whatever they need.
"""

import ssl
import sys

import httpx2

from pushgate import Gauge, PushGateway


def unverified() -> ssl.SSLContext:
    """Returns a TLS context that accepts every certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if len(sys.argv) != 2:
    sys.exit(__doc__)
Gauge("rows", "Rows imported by the last run.").set(3)
with httpx2.HTTPTransport(verify=unverified()) as transport:
    PushGateway(sys.argv[1], job="import", transport=transport).push()
