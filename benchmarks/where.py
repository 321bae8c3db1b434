"""Where the CPU time of a warm, durable push of 50 series goes: `make profile`.

A sampling profiler (py-spy) says which step runs whenever a thread holds the interpreter; the
CPU time of the threads says how much that is. The profiler slows the server down a little.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks import bench, report

SECONDS = 8
PYSPY = str(Path(sys.executable).with_name("py-spy"))
# The innermost of these functions on the stack decides; what is below none of them is the loop.
STEPS = {
    "HttpProtocol._write_response": "write the answer to the socket (kernel)",
    "Telemetry.count_push": "count the push for the server's own metrics",
    "PushService.conclude": "choose the answer",
    "SlotMapping.numbers": "read and write the numbers",
    "_cut": "cut the body at its numbers",
    "TextReader.read": "look up the shape",
    "TextReader.read_known": "look up the shape",
    "PushDecoder.read": "check the limits of the body",
    "PushDecoder.read_quickly": "check the limits of the body",
    "Store.admit_quickly": "admit the push",
    "Store.admission": "admit the push",
    "Store.apply": "make it visible",
    "SqliteJournal.write": "journal: encode, INSERT, commit",
    "Turns._write": "journal: take batches, hand them back",
    "Gateway._written": "take written batches",
    "Gateway.submit": "hand the push to the writer",
    "Turns._call": "hand a batch to the journal",
    "PushService.start": "look up the group, check the limits",
    "PushService.carry_out": "make the push a change",
    "HttpProtocol._start_known_push": "look up the head",
    "HttpProtocol.data_received": "receive",
}


def main() -> None:
    options = bench.parsed(["--seconds", str(SECONDS)])
    bench.build_load()
    with bench.Servers(options).started(report.DURABLE) as service:
        bench.fill(service, 100)
        bench.load(service, "-seconds=2")
        began = bench.cpu_seconds(service)
        pushes = bench.start_load(service, f"-seconds={SECONDS + 1}")
        stacks = sampled(service.process.pid)
        result = bench.result_of(pushes)
        each = (bench.cpu_seconds(service) - began) / result["requests"] * 1e6
    shares = Counter[str]()
    for stack, count in stacks:
        names = [frame.split(" (")[0] for frame in stack.split(";")]
        step = next((step for step in STEPS if step in names), None)
        shares[STEPS[step] if step else "event loop"] += count
    print(f"{each:.0f} µs of CPU time a push, {result['per_second']:,.0f} pushes a second.\n")
    print("| step | µs | share |\n|---|--:|--:|")
    for step, count in shares.most_common():
        share = count / shares.total()
        print(f"| {step} | {share * each:.1f} | {share:.0%} |")


def sampled(pid: int) -> list[tuple[str, int]]:
    """Stacks of the threads that held the interpreter, and how often."""
    with tempfile.TemporaryDirectory(prefix="pushgate-bench-") as folder:
        file = f"{folder}/stacks"
        command = [PYSPY, "record", "--gil", "--rate=500", f"--duration={SECONDS}", "--format=raw"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*command, f"--output={file}", f"--pid={pid}"], check=True, **quiet)
        lines = Path(file).read_text().splitlines()
    return [(stack, int(count)) for stack, _, count in (line.rpartition(" ") for line in lines)]


if __name__ == "__main__":
    main()
