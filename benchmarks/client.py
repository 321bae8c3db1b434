"""What a push costs the program that pushes: CPU time per push of 50 series, and at the start.

The gateway is a process of its own, so only the client's work is counted.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge

from pushgate import PushGateway
from tests import services

SERIES = 50
PUSHES, ROUNDS = 100, 7
STARTS = 15
OURS = """
from pushgate import Gauge, PushGateway
Gauge("rows", "Rows.").set(3)
PushGateway({address!r}, job="bench", properties=False).push()
"""
THEIRS = """
from prometheus_client import CollectorRegistry, Gauge, push_to_gateway
registry = CollectorRegistry()
Gauge("rows", "Rows.", registry=registry).set(3)
push_to_gateway({address!r}, "bench", registry)
"""


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


def start_rows() -> list[str]:
    """Returns a Markdown table: wall time of programs that push once, from start to end."""
    with services.pushgate() as gateway:
        address = f"127.0.0.1:{gateway.port}"
        programs = {
            "script with `prometheus_client`": [sys.executable, "-c", THEIRS],
            "script with `PushGateway`": [sys.executable, "-c", OURS],
            "`pushgate run -- true`": [services.PUSHGATE, "run", "-a", address, "--", "true"],
        }
        # An installed package is compiled already; what this leaves out is the compiler's time.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        took: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(STARTS + 1):  # the first round compiles
            for name, command in programs.items():
                started = time.perf_counter()
                filled = [part.format(address=address) for part in command]
                subprocess.run(filled, check=True, env=environment)
                took[name].append((time.perf_counter() - started) * 1e3)
    medians = {name: statistics.median(times[1:]) for name, times in took.items()}
    base = next(iter(medians.values()))
    table = [f"| {name} | {ms:.0f} ms | {ms / base:.2f} |" for name, ms in medians.items()]
    return ["| program that pushes once | wall time | ratio |", "|---|---|---|", *table]


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
    print("\n".join([*rows(), "", *start_rows()]))
