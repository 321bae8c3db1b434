"""The grammar of the Go server's command line, for any set of flags.

``--name=value``, ``--name value``, ``--[no-]switch``, ``@file`` (a file of arguments, one a
line). Nothing here knows which flags there are.
"""

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeAlias

from pushgate.model.duration import format_duration, parse_duration

Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Kind:
    """How the text of a flag becomes its value (``ValueError``: why not), and text again."""

    read: Callable[[str], Any]
    write: Callable[[Any], str] = str
    quoted: bool = False
    switch: bool = False
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. *default* is the text that would be typed for it."""

    name: str
    kind: Kind
    default: str
    help: str

    @property
    def label(self) -> str:
        """Its first column in ``--help``: ``--[no-]web.enable-lifecycle``, ``--log.level=info``."""
        if self.kind.switch:
            return f"--[no-]{self.name}"
        default = f'"{self.default}"' if self.kind.quoted else self.default
        return f"--{self.name}={default}" + (" ..." if self.kind.repeatable else "")

    def value(self, texts: Sequence[str]) -> Any:
        """Return the value of *texts*, as given, or of the default if there are none."""
        values = tuple(map(self.kind.read, texts or (self.default,)))
        return values if self.kind.repeatable else values[0]

    def text(self, value: Any) -> str:
        """Return *value* as the status page shows it."""
        return ",".join(value) if self.kind.repeatable else self.kind.write(value)


def read_arguments(argv: Sequence[str], flags: Mapping[str, Flag]) -> Iterator[tuple[Flag, str]]:
    """Yield each flag in *argv* with its text, in order.

    Raises:
        ValueError: what is wrong with the argument that comes next, in the Go server's words.

    """
    words = _expanded(argv)
    for word in words:
        if word == "--":
            break
        if word.startswith("--"):
            yield from _long(word[2:], words, flags)
        elif word.startswith("-") and word != "-":
            yield from _short(word[1:], flags)
        else:
            raise ValueError(f"unexpected {word}")
    for word in words:
        raise ValueError(f"unexpected {word}")


def _long(word: str, words: Iterator[str], flags: Mapping[str, Flag]) -> Iterator[tuple[Flag, str]]:
    name, equals, text = word.partition("=")
    flag, positive = flags.get(name), True
    if flag is None and name.startswith("no-"):
        flag, positive = flags.get(name.removeprefix("no-")), False
    if flag is None or not (positive or flag.kind.switch):
        raise ValueError(f"unknown long flag '--{name}'")
    if flag.kind.switch:
        yield flag, str(positive)
        if equals:
            raise ValueError(f"unexpected {text}")
        return
    if not equals:
        text = next(words, "-")
        if text.startswith("-"):
            raise ValueError(f"expected argument for flag '--{name}'")
    yield flag, text


def _short(letters: str, flags: Mapping[str, Flag]) -> Iterator[tuple[Flag, str]]:
    for letter in letters:
        if letter != "h":
            raise ValueError(f"unknown short flag '-{letter}'")
        yield flags["help"], "True"


def _expanded(argv: Sequence[str], within: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the words of *argv*, those of files in place of ``@file``; as is after ``--``."""
    words = iter(argv)
    for word in words:
        if word.startswith("@"):
            yield from _expanded(_lines(word[1:], within), (*within, word[1:]))
        else:
            yield word
        if word == "--":
            yield from words


def _lines(path: str, within: tuple[str, ...]) -> list[str]:
    if not path:
        raise ValueError("expected @ file to expand arguments from")
    if path in within:
        raise ValueError(f'arguments file "{path}" includes itself')
    try:
        lines = Path(path).read_text("utf-8", "surrogateescape").split("\n")
    except OSError as error:
        reason = f"open {path}: {(error.strerror or 'failed').lower()}"
        raise ValueError(f'failed to open arguments file "{path}": {reason}') from error
    return [line for line in lines if line.strip() and not line.startswith("#")]


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


_WIDE = 30  # a label from this length on stands alone on its line


def _choice(what: str, *choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"unrecognized {what} {text}")
        return text

    return read


def _level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warn", "error"):
        raise ValueError(f"unrecognized log level {text}")
    return text.lower()


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
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


_URL = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?"
    r"(?://(?:(?P<user>[^/?#]*)@)?(?P<host>[^/?#@]*))?"
    r"(?P<path>[^?#]*)(?:\?[^#]*)?(?:\#(?P<fragment>.*))?",
    re.DOTALL,
)
_BAD_ESCAPE = re.compile("%(?![0-9a-fA-F]{2}).{0,2}")


def split_url(text: str) -> Mapping[str, str]:
    """Return the parts of a URL by name: scheme, user, host, path, fragment; ``""`` if absent.

    Raises:
        ValueError: Go's reason why *text* is no URL.

    """
    match = _URL.fullmatch(text)
    assert match is not None  # every part of it is optional
    parts = match.groupdict("")
    if reason := _url_fault(text, parts):
        raise ValueError(f'invalid URL: parse "{text}": {reason}')
    if parts["scheme"] and match["host"] is None and not parts["path"].startswith("/"):
        parts["path"] = ""
    return parts


def _url_fault(text: str, parts: Mapping[str, str]) -> str | None:
    if re.search("[\x00-\x1f\x7f]", text):
        return "net/url: invalid control character in URL"
    if text.startswith(":"):
        return "missing protocol scheme"
    if not parts["scheme"] and ":" in parts["path"].partition("/")[0]:
        return "first path segment in URL cannot contain colon"
    return _host_fault(parts["host"]) or _escape_fault(parts)


def _host_fault(host: str) -> str | None:
    if host.startswith("[") and "]" not in host:
        return "missing ']' in host"
    port = host.rpartition("]")[2] if host.startswith("[") else "".join(host.rpartition(":")[1:])
    if port and ":" in host and not re.fullmatch(":[0-9]*", port):
        return f'invalid port "{port}" after host'
    if " " in host:
        return 'invalid character " " in host name'
    return None


def _escape_fault(parts: Mapping[str, str]) -> str | None:
    for part in ("user", "host", "path", "fragment"):
        if bad := _BAD_ESCAPE.search(parts[part]):
            return f'invalid URL escape "{bad[0]}"'
    return None


def _url(text: str) -> str:
    split_url(text)
    return text


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(map(_network, text.split(","))) if text else ()


def _network(text: str) -> Network:
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(
            f'invalid network "{text.strip()}": expected an address or a CIDR, e.g. 10.0.0.0/8'
        ) from None


def _networks_text(networks: tuple[Network, ...]) -> str:
    return ",".join(map(str, networks))


def _without_password(url: str) -> str:
    return re.sub("^([^/?#]*//[^/?#@:]*):[^/?#]*@", r"\1:xxxxx@", url)


SWITCH = Kind("True".__eq__, lambda on: str(on).lower(), switch=True)
TEXT = Kind(str, quoted=True)
TEXTS = Kind(str, repeatable=True)
URL = Kind(_url, _without_password)
NETWORKS = Kind(_networks, _networks_text, quoted=True)
DURATION = Kind(parse_duration, format_duration)
LOG_LEVEL = Kind(_level)
LOG_FORMAT = Kind(_choice("log format", "logfmt", "json"))
SIZE = Kind(_size, _size_text)
COUNT = Kind(_count)
