"""Push to a gateway that asks for a client certificate.

python mtls.py https://GATEWAY CA.PEM CERTIFICATE.PEM KEY.PEM
"""

import sys

from pushgate import Gauge, PushGateway

if len(sys.argv) != 5:
    sys.exit(__doc__)
address, ca_file, certificate, key = sys.argv[1:]
Gauge("rows", "Rows imported by the last run.").set(3)
PushGateway(address, job="import", ca_file=ca_file, client_cert=(certificate, key)).push()
