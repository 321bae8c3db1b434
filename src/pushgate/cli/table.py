"""Tables of groups for terminals."""

from collections.abc import Mapping, Sequence

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


def label_cells(labels: Mapping[str, str]) -> tuple[str, str]:
    """Return the job in *labels*, and the other labels."""
    others = ",".join(f"{name}={value}" for name, value in labels.items() if name != "job")
    return printable(labels.get("job", "")), printable(others or "-")


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
