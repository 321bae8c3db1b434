"""Text expositions made comparable."""

import re

OWN_METRIC = re.compile(r"(# (HELP|TYPE) )?(go|process|python|promhttp|pushgateway|pushgate)_")
PUSH_TIME = re.compile(r"(push(?:_failure)?_time_seconds\{.*\}) (?!0$)\S+$")


def pushed_part(exposition: str) -> list[str]:
    """The lines that were pushed: own metrics left out, push times masked."""
    return [
        PUSH_TIME.sub(r"\1 <TIME>", line)
        for line in exposition.split("\n")
        if line and not OWN_METRIC.match(line)
    ]


def with_sorted_samples(lines: list[str]) -> list[str]:
    """The same lines, the samples below each comment sorted."""
    families: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("# "):
            families.append([line])
        else:
            families[-1].append(line)
    return [line for head, *samples in filter(None, families) for line in (head, *sorted(samples))]
