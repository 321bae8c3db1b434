"""Writes docs/flags.md from the settings: ``make docs``."""

from itertools import groupby

from pushgate.server.flags import Flag
from pushgate.server.settings import FLAGS

HEAD = """\
# Flags

<!-- Made from src/pushgate/server/settings.py by `make docs`. -->

`pushgateway` and `pushgate serve` take the flags of the Go Pushgateway and some of their own,
as `--name=value` or `--name value`. A switch is `--name` or `--no-name`. `@file` stands for the
arguments in a file, one a line; lines that start with `#` are comments. Only
`--web.listen-address` can be given more than once. `--help` and `--version` print and end.

Sizes are bytes or have a unit: `KiB`, `MiB`, `GiB`. Durations have units: `90s`, `1h30m`. A
limit of 0 is no limit.
"""
TITLES = {
    "web": "Listening and the web",
    "persistence": "Persistence",
    "push": "Pushes",
    "limit": "Limits",
    "log": "Log",
}


def page() -> str:
    sections = [
        section(TITLES[word], list(those))
        for word, those in groupby(FLAGS.values(), lambda flag: flag.name.partition(".")[0])
    ]
    return "\n".join([HEAD, *sections])


def section(title: str, flags: list[Flag]) -> str:
    rows = [f"| {name(flag)} | {default(flag)} | {flag.help} |\n" for flag in flags]
    return f"## {title}\n\n| flag | default | meaning |\n|---|---|---|\n{''.join(rows)}"


def name(flag: Flag) -> str:
    return f"`--{'[no-]' if flag.kind.switch else ''}{flag.name}`"


def default(flag: Flag) -> str:
    if flag.kind.switch:
        return "off"
    return f"`{flag.default}`" if flag.default else "empty"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
