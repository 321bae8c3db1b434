"""A batch job that tells Prometheus what it did: python batch_job.py [GATEWAY]."""

import sys

from pushgate import Gauge, PushGateway

data_processed = Gauge("data_processed", "data processed in the last batch job run", unit="bytes")


def process_data() -> int:
    """Stands for the work of the job; returns how many bytes it processed."""
    return 42


def main() -> None:
    """Pushes whether or not the work succeeds."""
    address = sys.argv[1] if len(sys.argv) > 1 else "localhost:9091"
    gateway = PushGateway(address, job="example")
    try:
        data_processed.set(process_data())
    finally:
        gateway.push()


if __name__ == "__main__":
    main()
