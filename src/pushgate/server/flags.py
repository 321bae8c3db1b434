"""Flags in the manner of the Go server, read by argparse.

``--name=value``, ``--name value``, ``--[no-]switch``, and ``@file``: a file of arguments, one a
line. Nothing here knows which flags there are.
"""

import argparse
import re
import textwrap
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
        quoted: Whether ``--help`` shows the default in quotes.
        switch: Whether the flag takes no value and has a ``--no-`` form.
        repeatable: Whether it can be given more than once; the value is a tuple then.
    """

    read: Callable[[str], Any]
    write: Callable[[Any], str] = str
    quoted: bool = False
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
    def label(self) -> str:
        """The flag in ``--help``: ``--[no-]web.enable-lifecycle`` or ``--log.level=info``."""
        if self.kind.switch:
            return f"--[no-]{self.name}"
        default = f'"{self.default}"' if self.kind.quoted else self.default
        return f"--{self.name}={default}" + (" ..." if self.kind.repeatable else "")

    @property
    def default_value(self) -> Any:
        value = self.kind.read(self.default)
        return (value,) if self.kind.repeatable else value

    def text(self, value: Any) -> str:
        """Return *value* as the status page shows it."""
        return ",".join(value) if self.kind.repeatable else self.kind.write(value)


def read_arguments(
    argv: Sequence[str], prog: str, flags: Mapping[str, Flag], texts: Mapping[str, str]
) -> dict[str, Any]:
    """Return the value of each of *flags* that is in *argv*, by its key in *flags*.

    *texts* are the flags that print a text and end the program, such as ``version``.

    Raises:
        UsageError: *argv* is wrong; the message is one line for stderr.
        TextRequested: *argv* asks for one of *texts*.
    """
    parser = _Parser(prog, add_help=False, allow_abbrev=False, fromfile_prefix_chars="@")
    # Without defaults, the namespace has exactly the flags that were given, which matters: a
    # persistence file that was asked for must be usable, the default one need not.
    add = partial(parser.add_argument, default=argparse.SUPPRESS)
    for name, flag in flags.items():
        if flag.kind.switch:
            add(f"--{flag.name}", dest=name, action="append_const", const=True)
            add(f"--no-{flag.name}", dest=name, action="append_const", const=False)
        else:
            add(f"--{flag.name}", dest=name, action="append")
    for name, text in texts.items():
        short = ["-h"] if name == "help" else []
        add(*short, f"--{name}", action=_Show, nargs=0, const=text)
    try:
        given = vars(parser.parse_args(argv))
    except RecursionError:
        parser.error("files of arguments include each other")
    values = {}
    for name, words in given.items():
        flag = flags[name]
        spelled = f"--no-{flag.name}" if words[-1] is False else f"--{flag.name}"
        if len(words) > 1 and not flag.kind.repeatable:  # the last one would silently win
            parser.error(f"argument {spelled}: it cannot be repeated")
        try:
            read = tuple(map(flag.kind.read, words))
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


class _Show(argparse.Action):
    def __call__(self, *_: Any) -> NoReturn:
        raise TextRequested(str(self.const))


def help_lines(flags: Sequence[Flag]) -> list[str]:
    """Return the two columns of ``--help``, 80 wide."""
    labels = [("-h, " if flag.name == "help" else "    ") + flag.label for flag in flags]
    width = max(len(label) for label in labels if len(label) < _WIDE)
    indent = " " * (width + 4)
    lines = []
    for label, flag in zip(labels, flags, strict=True):
        first, *more = textwrap.wrap(
            flag.help, 80 - len(indent), break_long_words=False, break_on_hyphens=False
        )
        if len(label) < _WIDE:
            lines.append(f"  {label.ljust(width)}  {first}")
        else:
            lines += [f"  {label}  ", indent + first]
        lines += [indent + line for line in more]
    return lines


_WIDE = 30  # labels of this length and more have a line of their own, as in Go's kingpin


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
TEXT = Kind(str, quoted=True)
TEXTS = Kind(str, repeatable=True)
URL = Kind(_url, without_password)
DATABASE = Kind(_database, without_password)
NETWORKS = Kind(_networks, lambda networks: ",".join(map(str, networks)), quoted=True)
DURATION = Kind(parse_duration, format_duration)
LOG_LEVEL = Kind(_choice("log level", "debug", "info", "warn", "error", spelled=str.lower))
LOG_FORMAT = Kind(_choice("log format", "logfmt", "json"))
SIZE = Kind(_size, _size_text)
COUNT = Kind(_count)
