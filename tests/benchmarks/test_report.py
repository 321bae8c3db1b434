from benchmarks import report


def row_of(table: str, title: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {title} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_shows_medians_and_ratios_and_marks_what_misses_its_floor():
    measurements = {
        ("push 1", "per second"): {
            report.UNCHECKED: [100.0, 200.0, 900.0],
            report.DEFAULT: [10.0],
            report.MEMORY: [400.0],
            report.DURABLE: [100.0],
        }
    }

    assert row_of(report.markdown(measurements), "pushes/s, 1 series") == [
        "pushes/s, 1 series",
        "200",
        "10",
        "400",
        "100",
        "2 (≥ 1.2) · 40 (≥ 20)",
        "**0.5 (≥ 0.8)** · **10 (≥ 14)**",
    ]


def test_times_are_compared_the_other_way_round_and_missing_columns_are_dashes():
    measurements = {
        ("restart", "seconds"): {report.UNCHECKED: [3.0], report.DURABLE: [1.5]},
    }

    cells = row_of(report.markdown(measurements), "restart to ready, s")

    assert cells[1:] == ["3", "-", "-", "1.5", "-", "2 (≥ 1)"]


def test_several_figures_share_a_cell_and_the_last_is_compared():
    latency = {"p50": (1.0, 0.5), "p99": (4.0, 2.0), "p99.9": (9.0, 3.0)}
    measurements = {
        ("cold", rank): {report.UNCHECKED: [go], report.MEMORY: [ours]}
        for rank, (go, ours) in latency.items()
    }

    cells = row_of(report.markdown(measurements), "… p50 / p99 / p99.9, ms")

    assert cells[1:] == ["1 / 4 / 9", "-", "0.5 / 2 / 3", "-", "3", "-"]


def test_a_figure_of_ours_alone_needs_no_go_server_and_may_have_a_ceiling():
    measurements = {("cold memory", "rss"): {report.MEMORY: [80.0]}}

    cells = row_of(report.markdown(measurements), "RSS after many of 50 gauges, MB")

    assert cells[1:] == ["-", "-", "80", "-", "**80 (≤ 70)**", "-"]


def test_what_an_earlier_one_took_stands_beside_ours():
    measurements = {
        ("push 1", "cpu"): {report.BEFORE_IN_MEMORY: [4.0], report.MEMORY: [2.0]},
        ("push 1", "per second"): {report.BEFORE_DURABLE: [100.0], report.DURABLE: [80.0]},
        ("cold memory", "rss"): {report.MEMORY: [80.0]},
    }
    _, _, *rows = report.progress(measurements).splitlines()
    assert rows == [
        "| push 1: per second | - | - | - | 100 | 80 | 0.8 |",
        "| push 1: cpu | 4 | 2 | 2 | - | - | - |",
    ]


def test_every_scenario_has_rows_and_every_row_a_scenario():
    from benchmarks.bench import SCENARIOS

    assert {row.source[0] for row in report.ROWS} == set(SCENARIOS)
