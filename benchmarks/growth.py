"""How push latency, scrape time and memory grow with what is stored: `make growth`.

    python -m benchmarks.growth FOLDER

Groups of ten series, 10^2 to 10^5 of them; 500 pushes a second are offered meanwhile. Writes
growth.json with the figures of each server, and growth.svg, into FOLDER.
"""

import argparse
import json
from pathlib import Path

from benchmarks import bench, report

GROUPS = (100, 1_000, 10_000, 100_000)
SERIES = "-series=10"
COLUMNS = (report.UNCHECKED, report.MEMORY, report.DURABLE)
PANELS = {
    "p50": "push, p50, ms",
    "p99": "push, p99, ms",
    "first scrape": "first gzip scrape, ms",
    "scrape": "gzip scrape, everything changed, ms",
    "memory": "resident memory, MB",
}


def measure(servers: bench.Servers, column: str, groups: int, options: bench.Options) -> dict:
    with servers.started(column) as service:
        bench.fill(service, groups, SERIES)
        latency = bench.at_rate(service, 500, options, SERIES, f"-groups={groups}")
        memory = bench.resident(service)
        first = bench.scrape(service, "-gzip")
        bench.fill(service, groups, SERIES)
        again = bench.scrape(service, "-gzip")
    return latency | {"memory": memory, "first scrape": first, "scrape": again}


def draw(figures: dict[str, dict[int, dict]], file: Path) -> None:
    from matplotlib import pyplot as plt

    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "growth"}  # small, and reproducible
    canvas, axes = plt.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 4))
    for axis, (what, title) in zip(axes, PANELS.items(), strict=True):
        for column, by_groups in figures.items():
            axis.plot([*by_groups], [each[what] for each in by_groups.values()], "o-", label=column)
        axis.set(xscale="log", yscale="log", xlabel="groups of 10 series", title=title)
        axis.grid(alpha=0.3)
    axes[0].legend()
    canvas.tight_layout()
    canvas.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="up to 1,000 groups")
    folder, quick = vars(parser.parse_args()).values()
    options = bench.parsed(["--seconds", "1" if quick else "4"])
    bench.build_load()
    servers = bench.Servers(options)
    figures: dict[str, dict[int, dict]] = {column: {} for column in COLUMNS}
    for groups in GROUPS[:2] if quick else GROUPS:
        for column in COLUMNS:
            figures[column][groups] = measure(servers, column, groups, options)
            bench.tell(f"{groups} groups, {column}: {bench.shown(figures[column][groups])}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.json").write_text(json.dumps(figures, indent=1) + "\n")
    draw(figures, folder / "growth.svg")


if __name__ == "__main__":
    main()
