"""What a push costs the program that pushes: CPU time per push of 50 series.

The gateway is a process of its own, so only the client's work is counted.
"""

import time
from collections.abc import Callable

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge

from pushgate import PushGateway
from tests import services

SERIES = 50
PUSHES, ROUNDS = 100, 7


def rows() -> list[str]:
    """Returns a Markdown table: CPU time per push, ours beside prometheus_client's."""
    registry = registry_of(SERIES)
    with services.pushgate() as gateway:
        address = f"127.0.0.1:{gateway.port}"
        options = {"job": "bench", "registry": registry, "properties": False}
        protobuf = PushGateway(address, **options)
        text = PushGateway(address, format="text", **options)
        pushes: dict[str, Callable[[], object]] = {
            "`prometheus_client.push_to_gateway`": lambda: prometheus_client.push_to_gateway(
                address, "bench", registry
            ),
            "`PushGateway.push`": protobuf.push,
            "`PushGateway.push`, text": text.push,
        }
        costs = measure(pushes)
        with protobuf:
            costs |= measure({"`PushGateway.push`, connection kept": protobuf.push})
    base = next(iter(costs.values()))
    table = [f"| {name} | {cost:.0f} µs | {cost / base:.2f} |" for name, cost in costs.items()]
    return [f"| push of {SERIES} series | CPU time | ratio |", "|---|---|---|", *table]


def registry_of(series: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    gauge = Gauge("rows", "Rows.", ["table", "state"], registry=registry)
    for number in range(series):
        gauge.labels(f"table_{number}", "ok").set(number * 1.5)
    return registry


def measure(pushes: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Returns the best of several rounds, which alternate, in microseconds."""
    best = dict.fromkeys(pushes, float("inf"))
    for _ in range(ROUNDS):
        for name, push in pushes.items():
            started = time.process_time()
            for _ in range(PUSHES):
                push()
            best[name] = min(best[name], (time.process_time() - started) / PUSHES * 1e6)
    return best


if __name__ == "__main__":
    print("\n".join(rows()))
