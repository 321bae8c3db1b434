"""Push over TLS to a gateway with a certificate of your own authority.

python tls_private_ca.py https://GATEWAY CA.PEM
"""

import sys

from pushgate import Gauge, PushGateway

if len(sys.argv) != 3:
    sys.exit(__doc__)
address, ca_file = sys.argv[1:]
Gauge("rows", "Rows imported by the last run.").set(3)
PushGateway(address, job="import", ca_file=ca_file).push()
