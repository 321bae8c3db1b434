"""Push with a bearer token: python bearer_token.py GATEWAY TOKEN-FILE.

The file may be replaced at any time, as Kubernetes does with its service account tokens: it
is read again when it has changed, and once more when the gateway refuses the token.
A token that never changes is `bearer_token="…"`, one that a function gets `bearer_token=function`.
"""

import sys
from pathlib import Path

from pushgate import Gauge, PushGateway

if len(sys.argv) != 3:
    sys.exit(__doc__)
address, token_file = sys.argv[1], Path(sys.argv[2])
rows = Gauge("rows", "Rows imported by the last run.")
rows.set(3)

rotating = PushGateway(address, job="import", bearer_token_file=token_file)
rotating.push()

fixed = PushGateway(address, job="import", bearer_token=token_file.read_text().strip())
fixed.push()
