"""Push with user name and password: python basic_auth.py GATEWAY USER, password from stdin.

A password on the command line would be seen by everybody on the machine.
"""

import sys

from pushgate import Gauge, PushAuthError, PushGateway

if len(sys.argv) != 3:
    sys.exit(__doc__)
address, user = sys.argv[1:]
password = sys.stdin.readline().rstrip("\n")
Gauge("last_backup_timestamp_seconds", "When the last backup ended.").set_to_current_time()
try:
    PushGateway(address, job="backup", basic_auth=(user, password)).push()
except PushAuthError as error:
    sys.exit(f"{error}")
