"""A function as a job: when it ran, how long, whether it succeeded. python decorator.py [GATEWAY].

A gateway that is down is logged; the function returns or raises as if it were not there.
"""

import sys

from pushgate import Counter, PushGateway

gateway = PushGateway(sys.argv[1] if len(sys.argv) > 1 else "localhost:9091")
rows = Counter("rows", "Rows imported.", ["table"])


@gateway.job_run("nightly_import", include=[rows])
def nightly_import() -> None:
    """Stands for the work of the job."""
    rows.labels("customers").inc(3)


nightly_import()
