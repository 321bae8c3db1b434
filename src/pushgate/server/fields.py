"""The types of the fields of configuration files, for msgspec.

:mod:`pushgate.server.document` reads such files. The types are apart from it, so that a
server without a configuration file loads no YAML.
"""

import difflib
from collections.abc import Collection

import msgspec

_MAX_LISTED = 8  # names that an error lists; of more it says which is closest


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping with known keys. ``__post_init__`` raises ValueError for what does not fit."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"  # the fields may hold secrets


class Switch(int):
    """A truth value in any of YAML 1.1's spellings."""


class Whole(int):
    """A whole number of 64 bits. As in Go, what follows a decimal point is dropped."""


class Nanoseconds(int):
    """A Go duration, or a plain number of nanoseconds."""


def check_known(what: str, name: str, known: Collection[str]) -> None:
    """Raise ValueError if *name* is not among those *known*."""
    if name in known:
        return
    use = known if len(known) < _MAX_LISTED else difflib.get_close_matches(name, known, 1)
    raise ValueError(f"unknown {what}: {name}" + (f"; use {' or '.join(use)}" if use else ""))
