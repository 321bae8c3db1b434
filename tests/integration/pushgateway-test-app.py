"""The program of the acceptance tests: python pushgateway-test-app.py SCENARIO [asyncio].

Where and how to push, beyond what the scenario says, comes from the environment.
"""

import asyncio
import os
import sys

from prometheus_client import CollectorRegistry, Gauge

from pushgate import AsyncPushGateway, Histogram, PushGateway, Unit

SCENARIOS = {
    "simple": {},
    "textFormat": {"format": "text"},
    "basicauth": {"basic_auth": ("my_user", "secret_password")},
    "bearer": {"bearer_token": os.environ.get("TOKEN", "")},
    "ssl": {"scheme": "https", "verify": False},
    "native": {"format": "protobuf"},
}


def main(scenario, kind="blocking"):
    if scenario not in SCENARIOS:
        sys.exit(f"{scenario}: Not implemented.")
    registry = CollectorRegistry()
    sizes = Histogram(
        "file_sizes",
        "File sizes",
        unit=Unit.BYTES,
        buckets=[256, 512, 1024, 2048],
        registry=registry,
    )
    for size in (513, 814, 1553):
        sizes.observe(size)
    duration = Gauge("my_batch_job_duration", "Duration", unit="seconds", registry=registry)
    duration.set(0.5)
    sys.stdout.write("Pushing metrics...\n")
    options = {"registry": registry, **SCENARIOS[scenario]}
    if kind == "asyncio":
        asyncio.run(push(options))
    else:
        PushGateway(**options).push()
    sys.stdout.write("Push successful.\n")


async def push(options):
    await AsyncPushGateway(**options).push()


if __name__ == "__main__":
    main(*sys.argv[1:])
