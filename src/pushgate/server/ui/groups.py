"""Groups, prepared for the templates, which escape them."""

import base64
import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from pushgate.model.grouping import GroupingKey
from pushgate.model.quoting import go_quote
from pushgate.server.http.push_path import path_of
from pushgate.server.settings import Settings
from pushgate.server.store.group import MAX_HISTORY, Attempt, Group
from pushgate.server.store.rules import Rule
from pushgate.server.store.selector import MatchType, matcher_text
from pushgate.server.ui.search import State, state_of
from pushgate.server.ui.values import Moment, age, duration, moment

_MAX_CHIP = 80
STATE_WORDS: Final = {
    State.OK: "OK",
    State.LATE: "Late",
    State.FAILED: "Last push failed",
    State.EXPIRED: "Expired",
}
"""What people read for each state."""


class Chip(NamedTuple):
    """One label. If ``value`` is shortened, ``full`` has more of it."""

    name: str
    value: str
    full: str = ""


class Strip(NamedTuple):
    """The last pushes as a strip of bars: the path of each kind, by its CSS class."""

    paths: list[tuple[str, str]]
    label: str


class GroupRow(NamedTuple):
    """A group in the list. ``pushed`` is None if no push has succeeded yet.

    ``delete_path`` is its push path below the route prefix, without the first slash;
    empty if no path can name it, or the reader may not delete it.
    """

    group: Group
    id: str
    state: State
    chips: list[Chip]
    pushed: Moment | None
    failed: Moment | None
    expected: str
    strip: Strip
    selector: str
    delete_path: str


def group_row(
    group: Group, rule: Rule, settings: Settings, now: int, *, may_delete: bool, most: int
) -> GroupRow:
    """Return the row of *group* at *now*, in Unix nanoseconds.

    *may_delete* says whether the reader may; *most* how many characters of a value to show, 0 all.
    """
    state = state_of(group, rule, now)
    return GroupRow(
        group,
        group_id(group.key),
        state,
        chips(group.key, settings, most=most),
        moment(group.pushed_at, now) if group.pushed_at else None,
        None if group.last_push_successful else moment(group.failed_at, now),
        _expected(group, state, rule, now),
        strip(group.attempts, rule.expect_every),
        selector(group.key),
        path_of(group.key, settings) if may_delete else "",
    )


def _expected(group: Group, state: State, rule: Rule, now: int) -> str:
    if state is State.EXPIRED:
        return f"expired after {age(rule.ttl)}"
    if rule.expect_every:
        return f"every {age(rule.expect_every)}"
    expires_at = rule.expires_at(group)
    return f"expires in {age(expires_at - now)}" if expires_at else ""


def chips(key: GroupingKey, settings: Settings, *, most: int) -> list[Chip]:
    """Return the labels of *key* without the job, and values cut to *most* characters."""
    return [chip(name, value, settings, most) for name, value in key.others]


def chip(name: str, value: str, settings: Settings, most: int = 0) -> Chip:
    """Return one label. A name that the flags do not allow is quoted."""
    shown = name if settings.name_rule.label(name) else go_quote(name)
    return Chip(shown, *shortened(value, most))


def shortened(value: str, most: int) -> tuple[str, str]:
    """Return the first *most* characters of *value*, and a longer text if that cuts it."""
    if not most or len(value) <= most:
        return value, ""
    return f"{value[:most]}…", f"{value[: 4 * most]}… ({len(value):,} characters)"


def strip(attempts: Sequence[Attempt], expect_every: int) -> Strip:
    """Return the strip of *attempts*, oldest first, with gaps where there are too few.

    A push that came later than 1.5 times *expect_every* nanoseconds after the one before was late.
    """
    kinds = []
    for before, attempt in zip([None, *attempts], attempts, strict=False):
        is_late = before and expect_every and 2 * (attempt.time - before.time) > 3 * expect_every
        kinds.append(("late" if is_late else "ok") if attempt.is_accepted else "failed")
    paths = dict.fromkeys(("ok", "late", "failed", "none"), "")
    for at in range(MAX_HISTORY):
        kind = kinds[at] if at < len(kinds) else "none"
        paths[kind] += f"M{5 * at + 2} " + ("1v14" if kind == "failed" else "3v11")
    counted = [
        (kinds.count(kind), word) for kind, word in (("late", "late"), ("failed", "refused"))
    ]
    said = "".join(f", {count} {word}" for count, word in counted if count)
    what = "push" if len(attempts) == 1 else f"{len(attempts)} pushes"
    label = f"Last {what}{said or ', all accepted'}" if attempts else "No pushes yet"
    return Strip([(kind, path) for kind, path in paths.items() if path], label)


class PastPush(NamedTuple):
    """A push in the history of a group; ``since`` is the time since the previous one."""

    at: Moment
    is_accepted: bool
    since: str


def history(attempts: Sequence[Attempt], now: int) -> list[PastPush]:
    """Return *attempts*, latest first."""
    gaps = ["", *(duration((b.time - a.time) / 1e9) for a, b in pairwise(attempts))]
    return [
        PastPush(moment(attempt.time, now), attempt.is_accepted, gap)
        for attempt, gap in reversed([*zip(attempts, gaps, strict=True)])
    ]


def rhythm(attempts: Sequence[Attempt]) -> tuple[float, str]:
    """Return the usual seconds between accepted pushes (0 if unknown), and a text about it."""
    times = [attempt.time / 1e9 for attempt in attempts if attempt.is_accepted]
    gaps = [after - before for before, after in pairwise(times)]
    if not gaps:
        return 0.0, "too few pushes to tell how often"
    from statistics import fmean, median  # only pages need it

    usual = median(gaps)
    spread = fmean(abs(gap - usual) for gap in gaps)
    return usual, f"{duration(usual)} apart, ± {duration(round(spread))}"


def snippets(group: Group, rule: Rule, settings: Settings, base_url: str) -> dict[str, str]:
    """Return texts to copy by their titles, for *group* of the server at *base_url*."""
    said = selector(group.key)
    found = {"selector": said, "alert rule": _alert(group, rule, said)}
    path = path_of(group.key, settings)
    if not path:
        return found
    delete = ["pushgate", "delete", "--address", base_url, "--job", group.key.job]
    for pair in group.key.others:
        delete += ["--group", "=".join(pair)]
    push = ["curl", "--data-binary", "@metrics.txt", f"{base_url}/{path}"]
    return found | {"curl": shlex.join(push), "delete command": shlex.join(delete)}


def _alert(group: Group, rule: Rule, selector: str) -> str:
    usual = rule.expect_every / 1e9 or rhythm(group.attempts)[0]
    # One and a half times the usual interval. Most jobs whose interval is not known run daily.
    most = max(60, round(1.5 * usual)) if usual else 36 * 3600
    words = re.findall("[A-Za-z0-9]+", group.key.job[:_MAX_CHIP])
    name = "".join(map(str.capitalize, words)) or "Job"
    return (
        f"- alert: {name}IsLate\n"
        "  expr: |-\n"
        f"    time() - push_time_seconds{selector} > {most}\n"
        "  labels:\n"
        "    severity: warning\n"
        "  annotations:\n"
        "    summary: No push for {{ $value | humanizeDuration }}.\n"
    )


def selector(key: GroupingKey) -> str:
    """Return a selector that all metrics of the group *key* match."""
    pairs = [("job", key.job), *key.others]
    return f"{{{','.join(matcher_text(name, MatchType.EQUAL, value) for name, value in pairs)}}}"


def title(group: Group) -> str:
    """Return a short name of *group* for the title of its page."""
    named = [group.key.job, *map("=".join, group.key.others)]
    return shortened(" ".join(named), _MAX_CHIP)[0]


def group_id(key: GroupingKey) -> str:
    """Return *key* as one segment of a path."""
    return base64.urlsafe_b64encode(key.packed).decode().rstrip("=")


def key_of(group_id: str) -> GroupingKey | None:
    """Return the key that :func:`group_id` wrote, or None if it did not write this."""
    try:
        return GroupingKey.unpack(base64.b64decode(group_id + "==", b"-_", validate=False))
    except ValueError:
        return None
