"""YAML documents as plain data, and msgspec types made of it; errors name line and key.

Scalars stay as they are written, because YAML's guesses would lose text: a user may be called
``no``, a job ``007``. Where a number or a truth value is wanted, a type says so: `Switch`,
`Whole`, `Nanoseconds`. The library is imported when there is a document to read.
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import msgspec

from pushgate.errors import StartupError
from pushgate.model.duration import parse_duration

if TYPE_CHECKING:
    import yaml

_T = TypeVar("_T")

_MAX_DEPTH = 50  # libyaml's composer recurses in C: deep nesting would end the process
_MAX_VALUES = 100_000  # with aliases written out: a few lines can stand for billions
_MAX_INT = (1 << 63) - 1  # Go's int64
_TAG = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT = (_TAG + name for name in ("null", "bool", "int", "float"))
_MAX_LISTED = 8  # names that an error lists; of more it says which is closest

Path = tuple[str | int, ...]
"""Where in a document: keys of mappings and indexes of lists."""


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


class Scalar(str):
    """A scalar that YAML takes for a number or truth value, as it is written."""

    __slots__ = ("node",)
    node: "yaml.ScalarNode"


class Document:
    """One YAML document.

    Attributes:
        data: dicts, lists, texts (some of them a `Scalar`) and None. An empty text is an empty
            dict.

    Raises:
        StartupError: *text* is not one YAML document, a key is given twice, or the document
            is nested or expanded beyond reason.
    """

    def __init__(self, text: bytes) -> None:
        self._lines: dict[Path, int] = {}
        root = _composed(text)
        plain = None if root is None else self._plain(root, ())
        self.data = {} if plain is None else plain

    def convert(self, value: Any, to: type[_T], at: Path = ()) -> _T:
        """Return *value*, found at *at*, as a *to*; raise StartupError if it is none."""
        try:
            return msgspec.convert(value, to, dec_hook=_from_scalar)
        except msgspec.ValidationError as error:
            # As in "Expected `str`, got `array` - at `$.jwt[0].issuer`".
            match = re.fullmatch(r"(.*?)(?: - at `\$([^`]*)`)?", str(error), re.DOTALL)
            assert match is not None
            steps = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", match[2] or "")
            where = (*at, *(key or int(index) for key, index in steps))
            raise self.error(*_in_words(match[1], to), at=where) from None

    def texts(
        self, values: Mapping[str, Any], read: Callable[[str, str], _T], at: Path
    ) -> dict[str, _T]:
        """Return what *read* makes of each name and text in *values*, which are found at *at*.

        Raises:
            StartupError: a value is no text, or *read* raised a ValueError.
        """
        found = {}
        for name, value in values.items():
            text = self.convert(value, str, (*at, name))
            try:
                found[name] = read(name, text)
            except ValueError as error:
                raise self.error(str(error), at=(*at, name)) from None
        return found

    def error(self, problem: str, *line_of: str | int, at: Path) -> StartupError:
        """Return the error for *problem* at *at*. Its line is that of the key *line_of* there."""
        place = (*at, *line_of)
        line = next(
            (self._lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in self._lines),
            1,
        )
        name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in at)
        return StartupError(f"line {line}: {name.lstrip('.')}{': ' if at else ''}{problem}")

    def _plain(self, node: "yaml.Node", at: Path) -> Any:
        import yaml

        self._lines.setdefault(at, node.start_mark.line + 1)
        # An alias can stand for many values, and even for what it is part of.
        if len(at) > _MAX_DEPTH:
            raise StartupError(f"yaml: nested more than {_MAX_DEPTH} deep")
        if len(self._lines) > _MAX_VALUES:
            raise StartupError(f"yaml: more than {_MAX_VALUES} values")
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*at, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            plain = {}
            for key, value in node.value:
                place, line = (*at, key.value), key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise StartupError(f"line {line}: a key must be a string")
                if place in self._lines:
                    raise StartupError(f"line {line}: the key {key.value} is given twice")
                self._lines[place] = line  # that of the key, where its value may begin later
                plain[key.value] = self._plain(value, place)
            return plain
        if node.tag == _NULL:
            return None
        if not isinstance(node, yaml.ScalarNode) or node.tag not in (_BOOL, _INT, _FLOAT):
            return str(node.value)
        scalar = Scalar(node.value)
        scalar.node = node
        return scalar


def _composed(text: bytes) -> "yaml.Node | None":
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # Events are read first, because composing recurses once for each level.
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise StartupError(f"yaml: nested more than {_MAX_DEPTH} deep")
        node: yaml.Node | None = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise StartupError(f"yaml: {line}{error.problem}") from None
    except yaml.reader.ReaderError as error:
        raise StartupError(f"yaml: {error.reason}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise StartupError(f"yaml: {type(error).__name__}") from None
    return node


def _from_scalar(to: Any, value: Any) -> Any:
    """Make a number or truth value, for msgspec; raise ValueError if that is impossible."""
    from yaml.constructor import SafeConstructor

    read = SafeConstructor()  # knows every spelling: 0o17, 1_000, 1:30, off
    tag = value.node.tag if isinstance(value, Scalar) else ""
    if to is Switch:
        if tag != _BOOL:
            raise ValueError("expected true or false")
        return to(read.construct_yaml_bool(value.node))
    if to is Nanoseconds and isinstance(value, str) and not tag:
        return to(parse_duration(value))
    construct = {_INT: read.construct_yaml_int, _FLOAT: read.construct_yaml_float}.get(tag)
    if construct is None:
        raise ValueError("expected a whole number")
    try:
        number = int(construct(value.node))
    except ValueError:  # of .nan, or too many digits
        raise ValueError("expected a whole number") from None
    except OverflowError:  # of infinity
        number = _MAX_INT + 1
    if abs(number) > _MAX_INT:
        raise ValueError("the number is too large")
    return to(number)


# msgspec speaks of JSON.
_KINDS = {"object": "a mapping", "array": "a list", "str": "a string", "null": "nothing"}


def _in_words(problem: str, to: object) -> tuple[str, ...]:
    """Return msgspec's *problem* in the terms of YAML, and the key that it is about, if any."""
    if match := re.fullmatch(r"Expected `(.*)`, got `(.*)`", problem):
        kinds = (side.split(" | ") for side in match.groups())
        expected, got = (" or ".join(_KINDS.get(kind, kind) for kind in side) for side in kinds)
        return (f"expected {expected}, got {got}",)
    if match := re.fullmatch(r"Object missing required field `(.*)`", problem):
        return (f"{match[1]} is missing",)
    if match := re.fullmatch(r"Object contains unknown field `(.*)`", problem, re.DOTALL):
        key = match[1]
        close = difflib.get_close_matches(key, {*_keys(to)} - {key}, 1)
        return f"unknown key {key}" + (f", did you mean {close[0]}?" if close else ""), key
    return (problem,)


def _keys(kind: Any) -> list[str]:
    """Return the keys of a section and of the sections in it."""
    if not (isinstance(kind, type) and issubclass(kind, Section)):
        return [key for part in getattr(kind, "__args__", ()) for key in _keys(part)]
    hints = get_type_hints(kind)
    return [*hints, *(key for hint in hints.values() for key in _keys(hint))]
