"""The metrics of a job run, the same for ``pushgate run`` and ``job_run``. All are gauges."""

from typing import TypeAlias

Metric: TypeAlias = tuple[str, str, float]
"""Name without the prefix, help text, value."""


def started(at: float) -> Metric:
    """Return when the run began; *at* is in seconds since 1970."""
    return "last_start_timestamp_seconds", "When the job last started.", at


def outcome(now: float, duration: float, *, succeeded: bool, code: int | None) -> list[Metric]:
    """Return how the run ended: *now*, in seconds since 1970, after *duration* seconds.

    *code* is its exit status, if it has one.
    """
    end = "success" if succeeded else "failure"
    metrics = [
        ("last_completion_timestamp_seconds", "When the job last ended.", now),
        ("duration_seconds", "How long the job last took.", duration),
        ("success", "Whether the job last succeeded.", float(succeeded)),
        # Only one of the two is pushed, so that the other keeps its value on the gateway: a
        # failed run must not move the time of the last success.
        (f"last_{end}_timestamp_seconds", f"When the job last ended in {end}.", now),
    ]
    if code is not None:
        metrics.append(("exit_code", "The exit status of the job.", float(code)))
    return metrics
