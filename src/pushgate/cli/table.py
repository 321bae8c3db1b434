"""Tables of groups for terminals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pushgate.client.group_list import ListedGroup
    from pushgate.client.results import Group

GROUP_HEAD = ("JOB", "LABELS", "AGE", "STATE", "SERIES")
_AGES = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table under *head*, or none if there are no *rows*."""
    if not rows:
        return []
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def group_cells(
    group: "Group | ListedGroup", now: float, *, is_late: bool = False
) -> tuple[str, ...]:
    """Return the row of *group* under :data:`GROUP_HEAD`."""
    job = printable(group.labels.get("job", ""))
    others = ",".join(f"{name}={value}" for name, value in group.labels.items() if name != "job")
    state = "failed" if not group.last_push_successful else "late" if is_late else "ok"
    return job, printable(others or "-"), age(group.last_push, now), state, str(group.series)


def age(time: float | None, now: float) -> str:
    """Return how long ago *time* is, in the largest unit that fits, rounded down: ``3h``."""
    if time is None:
        return "never"
    # A clock of another machine may be ahead of this one: that is 0s, too.
    for size, unit in _AGES:
        if now - time >= size:
            return f"{int((now - time) // size)}{unit}"
    return "0s"


def printable(text: str) -> str:
    """Return *text* with escapes for what could break a line or control the terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
