"""The instruments of a run where prometheus_client would keep them in files: multiprocess mode."""

import os
import subprocess
import sys

from tests.client.rogue import rogue
from tests.metrics_proto import decode

PROGRAM = """
import sys
from pushgate import PushGateway
for rows in (3, 4):
    with PushGateway(sys.argv[1], job="j", properties=False).job_run() as job:
        job.counter("rows", "Rows.", ["table"]).labels("a").inc(rows)
        job.gauge("level", "Level.").inc(rows)
        job.histogram("size", "Size.").observe(rows)
"""


def test_a_run_in_multiprocess_mode_starts_from_zero_and_leaves_no_files(tmp_path):
    with rogue() as server:
        subprocess.run(
            [sys.executable, "-c", PROGRAM, server.url],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            timeout=30,
            check=True,
        )
    pushes = [
        {family.name: family.metric[0] for family in decode(request.body)}
        for request in server.seen
    ]
    assert [push["rows_total"].counter.value for push in pushes] == [3, 4]
    assert [push["level"].gauge.value for push in pushes] == [3, 4]
    assert [push["size"].histogram.sample_count for push in pushes] == [1, 1]
    assert pushes[1]["size"].histogram.positive_delta
    assert list(tmp_path.iterdir()) == []
