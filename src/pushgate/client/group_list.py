"""Queries for ``/api/v1/groups``, which only Pushgate has, and its answers."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

from pushgate.client.options import checked_seconds
from pushgate.client.results import data_in

PATH = "/api/v1/groups"
PAGE = 1000
"""How many groups the gateway lists at a time."""


class ListedGroup(NamedTuple):
    """A group in the list of a gateway. Times are seconds since 1970; None if there is none.

    Attributes:
        labels: The grouping key, job included.
        last_push: Time of the last successful push.
        last_failure: Time of the last failed push.
        last_push_successful: Whether the last push was accepted.
        failure_reason: Why the last failed push was refused; empty if unknown.
        failure_source: The address it came from; empty if unknown.
        series: How many series it has; a histogram counts as many as its buckets and two.
        families: How many metric families it has.
        expires_at: When its metrics expire, by a rule or ``--push.ttl``; None if never.
        expected_interval: Seconds from one push to the next that a rule expects.
        late: Whether a push is overdue.
    """

    labels: Mapping[str, str]
    last_push: float | None
    last_failure: float | None
    last_push_successful: bool
    failure_reason: str
    failure_source: str
    series: int
    families: int
    expires_at: float | None
    expected_interval: float | None
    late: bool


def path_of(
    match: Iterable[str], *, failed: bool | None, older_than: float | None, **more: str | int
) -> str:
    """Return the path and query of the groups that are meant; *more* are further parameters.

    Raises:
        ConfigurationError: *older_than* is not a number above 0.
    """
    pairs: list[tuple[str, str | int]] = [("match[]", selector) for selector in match]
    if failed is not None:
        pairs.append(("failed", str(failed).lower()))
    if checked_seconds("older_than", older_than) is not None:
        # The gateway reads Go's durations, which have units.
        pairs.append(("older_than", f"{older_than:.9f}s"))
    return f"{PATH}?{urlencode([*pairs, *more.items()])}"


def listed_in(body: bytes) -> tuple[int, list[ListedGroup]]:
    """Return the number of all groups, and the groups in the answer *body*."""
    with data_in(body) as data:
        groups: list[ListedGroup] = []
        for entry in data["groups"]:
            failure: dict[str, str] = entry["last_failure"] or {}
            listed = ListedGroup(
                labels=entry["labels"],
                last_push=_seconds(entry["push_time"]),
                last_failure=_seconds(entry["failure_time"]),
                last_push_successful=entry["last_push_successful"],
                failure_reason=failure.get("reason", ""),
                failure_source=failure.get("source", ""),
                series=entry["series"],
                families=entry["families"],
                expires_at=_seconds(entry.get("expires_at")),
                expected_interval=entry.get("expected_interval_seconds"),
                late=bool(entry.get("late")),
            )
            groups.append(listed)
        return int(data["total"]), groups


def _seconds(time: str | None) -> float | None:
    return None if time is None else datetime.fromisoformat(time).timestamp()
