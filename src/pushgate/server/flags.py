"""Flags in the manner of the Go server, read by argparse.

``--name=value``, ``--name value``, ``--[no-]switch``, and ``@file``: a file of arguments, one a
line. Nothing here knows which flags there are.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, NoReturn
from urllib.parse import urlsplit

from pushgate.errors import UsageError
from pushgate.model.duration import format_duration, parse_duration

Network = IPv4Network | IPv6Network


class TextRequested(Exception):
    """``--help`` or ``--version`` was given: print *text* to stdout and exit with status 0."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class Kind:
    """Converts the text of a flag to its value, and back.

    Attributes:
        read: Text to value; raises ValueError with the reason.
        write: Value to the text of the status page.
        switch: Whether the flag takes no value and has a ``--no-`` form.
        repeatable: Whether it can be given more than once; the value is a tuple then.
    """

    read: Callable[[str], Any]
    write: Callable[[Any], str] = str
    switch: bool = False
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. *default* is text, as on a command line."""

    name: str
    kind: Kind
    default: str
    help: str

    @property
    def spellings(self) -> Sequence[str]:
        """``--name``, and for a switch ``--no-name``."""
        return [f"--{no}{self.name}" for no in (("", "no-") if self.kind.switch else ("",))]

    @property
    def default_value(self) -> Any:
        value = self.kind.read(self.default)
        return (value,) if self.kind.repeatable else value

    def text(self, value: Any) -> str:
        """Return *value* as the status page shows it."""
        return ",".join(value) if self.kind.repeatable else self.kind.write(value)


def read_arguments(
    argv: Sequence[str], prog: str, flags: Mapping[str, Flag], version: str
) -> dict[str, Any]:
    """Return the value of each of *flags* that is in *argv*, by its key in *flags*.

    Raises:
        UsageError: *argv* is wrong; the message is one line for stderr.
        TextRequested: *argv* asks for help, or for the *version*.
    """
    parser = _Parser(
        prog,
        usage="%(prog)s [<flags>]",
        description="The Pushgateway",
        add_help=False,
        allow_abbrev=False,
        fromfile_prefix_chars="@",
    )
    # Without defaults, the namespace has exactly the flags that were given, which matters: a
    # persistence file that was asked for must be usable, the default one need not.
    add = partial(parser.add_argument, default=argparse.SUPPRESS)
    add("-h", "--help", action=_Show, nargs=0, help="Show context-sensitive help.")
    for name, flag in flags.items():
        add(
            *flag.spellings,
            dest=name,
            action=_Given,
            nargs=0 if flag.kind.switch else None,
            metavar=flag.default or '""',
            help=flag.help.replace("%", "%%"),
        )
    add("--version", action=_Show, nargs=0, const=version, help="Show application version.")
    try:
        given = vars(parser.parse_args(argv))
    except RecursionError:
        parser.error("files of arguments include each other")
    values = {}
    for name, words in given.items():
        flag = flags[name]
        spelled = words[-1][0]
        if len(words) > 1 and not flag.kind.repeatable:  # the last one would silently win
            parser.error(f"argument {spelled}: it cannot be repeated")
        try:
            read = tuple(flag.kind.read(word) for _, word in words)
        except ValueError as error:
            parser.error(f"argument {spelled}: {error}")
        values[name] = read if flag.kind.repeatable else read[0]
    return values


class _Parser(argparse.ArgumentParser):
    """Raises instead of writing to stderr and ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: error: {without_password(message)}, try --help")

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """Return the argument on a line of a file; comments and blank lines have none."""
        return [arg_line] if arg_line.strip() and not arg_line.startswith("#") else []


class _Given(argparse.Action):
    """Collects how a flag was spelled each time, and its values."""

    def __call__(
        self, _: Any, namespace: argparse.Namespace, values: Any, spelled: str | None = None
    ) -> None:
        value = values if self.nargs is None else spelled == self.option_strings[0]
        words = vars(namespace).setdefault(self.dest, [])
        words.append((spelled, value))


class _Show(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        raise TextRequested(self.const or parser.format_help())


def _choice(what: str, *choices: str, spelled: Callable[[str], str] = str) -> Callable[[str], str]:
    """Return a function that reads one of *choices*; *spelled* normalizes it first."""

    def read(text: str) -> str:
        if spelled(text) not in choices:
            raise ValueError(f"unrecognized {what} {text}")
        return spelled(text)

    return read


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):  # int() takes 1_000 and digits of other scripts
        raise ValueError(f'invalid number "{text}": expected digits only (0 = no limit)')
    return int(text)


_SIZE_UNITS = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "": 1}


def _size(text: str) -> int:
    match = re.fullmatch("([0-9]{1,18})([KMG]iB|)", text)
    if match is None:
        raise ValueError(f'invalid size "{text}": expected bytes, or e.g. 32MiB (0 = no limit)')
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _size_text(size: int) -> str:
    unit = next(unit for unit, scale in _SIZE_UNITS.items() if size % scale == 0)
    return f"{size // _SIZE_UNITS[unit]}{unit}" if size else "0"


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises if it is not a number
    except ValueError as error:
        raise ValueError(f'invalid URL "{text}": {error}') from error
    if parts.scheme not in {"", "http", "https"} or re.search("[\x00-\x1f\x7f]", text):
        raise ValueError(f'invalid URL "{text}": expected one like https://example.org/path')
    return text


def _database(text: str) -> str:
    # Whatever is wrong, the message must not repeat the text: it may have a password.
    if text and not text.startswith(("postgresql://", "postgres://")):
        raise ValueError("expected a URL like postgresql://user@host/name")
    if re.search("[\x00-\x20\x7f]", text):
        raise ValueError(
            "a URL must not contain blanks or control characters: write a blank as %20"
        )
    return text


def _networks(text: str) -> tuple[Network, ...]:
    networks = []
    for part in map(str.strip, text.split(",") if text else ()):
        try:
            networks.append(ip_network(part, strict=False))
        except ValueError:
            raise ValueError(
                f'invalid network "{part}": expected an address or a CIDR, e.g. 10.0.0.0/8'
            ) from None
    return tuple(networks)


def without_password(url: str) -> str:
    """Return *url* without its password and other secrets, to be shown."""
    url = re.sub("^([^/?#]*//[^/?#@:]*):[^/?#]*@", r"\1:xxxxx@", url)
    return re.sub("([?&][^=&]*password=)[^&#]*", r"\1xxxxx", url)


SWITCH = Kind(bool, lambda on: str(on).lower(), switch=True)
TEXT = Kind(str)
TEXTS = Kind(str, repeatable=True)
URL = Kind(_url, without_password)
DATABASE = Kind(_database, without_password)
NETWORKS = Kind(_networks, lambda networks: ",".join(map(str, networks)))
DURATION = Kind(parse_duration, format_duration)
LOG_LEVEL = Kind(_choice("log level", "debug", "info", "warn", "error", spelled=str.lower))
LOG_FORMAT = Kind(_choice("log format", "logfmt", "json"))
SIZE = Kind(_size, _size_text)
COUNT = Kind(_count)
