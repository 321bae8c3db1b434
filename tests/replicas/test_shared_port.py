"""Several processes share one port, and with a database behind them they are one gateway."""

import re
from contextlib import ExitStack

from tests import services
from tests.exchange import ask
from tests.replicas.load import states

PUSHES = 60
HANDLED = re.compile(
    r'^pushgateway_http_requests_total\{code="200",handler="push",method="put"\} (\d+)$',
    re.MULTILINE,
)


def test_the_kernel_spreads_connections_among_processes_that_are_one_gateway(postgres):
    url = postgres.url_of(postgres.database())
    with ExitStack() as started:
        port = started.enter_context(services.held_port())
        shared = f"--web.listen-address=127.0.0.1:{port}"
        flags = (f"--persistence.url={url}", "--web.reuse-port", shared)
        them = [started.enter_context(services.serving(*flags)) for _ in range(3)]
        for number in range(PUSHES):
            assert ask(port, "PUT", f"/metrics/job/j{number}", b"m 1\n").status == 200
            assert f'job="j{number}"' in ask(port, "GET", "/metrics").body.decode()
        handled = [sum(map(int, HANDLED.findall(each.get("/metrics")))) for each in them]
        assert sum(handled) == PUSHES
        assert all(handled)
        for each in them:
            assert len(states(each.get("/metrics"))) == PUSHES
