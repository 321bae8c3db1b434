"""YAML read strictly, with the complaints of Go's yaml.v2 (which exporter-toolkit uses).

A `Document` collects what has the wrong shape, with its line, so that one run of the
server shows all of it; `Document.check` raises it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeVar

import yaml

from pushgate.errors import StartupError
from pushgate.model.duration import parse_duration
from pushgate.model.quoting import go_quote

_T = TypeVar("_T")

_LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 50  # libyaml's composer recurses in C: deep nesting would end the process
_STANDARD_TAG = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT = (_STANDARD_TAG + name for name in ("null", "bool", "int", "float"))
_SCALARS = yaml.constructor.SafeConstructor()


def compose(text: bytes) -> yaml.Node | None:
    """Return the one document in *text*; None when it is empty.

    Raises:
        StartupError: *text* is not YAML, or not one document, or nested beyond reason.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise StartupError(f"yaml: nested more than {_MAX_DEPTH} deep")
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise StartupError(f"yaml: {_line(error)}{error.problem}") from None
    except yaml.reader.ReaderError as error:
        raise StartupError(f"yaml: {error.reason}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise StartupError(f"yaml: {type(error).__name__}") from None
    return None if node is None or node.tag == _NULL else node


def _line(error: yaml.MarkedYAMLError) -> str:
    # As yaml.v2 counts: a scanner's line from one, a parser's from zero, and zero is not said.
    line = error.problem_mark.line if error.problem_mark else 0
    return f"line {line + isinstance(error, yaml.scanner.ScannerError)}: " if line else ""


class Document:
    """Readers for the nodes of one document. Absent and null mean the same: the default."""

    def __init__(self) -> None:
        self._complaints: list[str] = []

    def check(self) -> None:
        """Raise StartupError if anything read so far had the wrong shape."""
        if self._complaints:
            lines = "".join(f"\n  {complaint}" for complaint in self._complaints)
            raise StartupError(f"yaml: unmarshal errors:{lines}")

    def fields(
        self, node: yaml.Node | None, go_type: str, known: Collection[str]
    ) -> dict[str, yaml.Node]:
        """Return the values, by key, of a mapping whose keys are among *known*."""
        found: dict[str, yaml.Node] = {}
        for line, key, value in self._pairs(node, go_type):
            if key not in known:
                self._complain(line, f"field {key} not found in type {go_type}")
            elif key in found:
                self._complain(line, f"field {key} already set in type {go_type}")
            else:
                found[key] = value
        return found

    def entries(self, node: yaml.Node | None, go_type: str) -> dict[str, yaml.Node]:
        """Return the values, by key, of a mapping with keys of the operator's choice."""
        found: dict[str, yaml.Node] = {}
        for line, key, value in self._pairs(node, go_type):
            if key in found:
                self._complain(line, f"key {go_quote(key)} already set in map")
            found[key] = value
        return found

    def items(self, node: yaml.Node | None, go_type: str) -> list[yaml.Node]:
        """Return the nodes of a sequence."""
        if node is None or node.tag == _NULL:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._mismatch(node, go_type)
            return []
        return list(node.value)

    def texts(self, node: yaml.Node | None, go_type: str = "[]string") -> tuple[str, ...]:
        """Return the texts of a sequence."""
        return tuple(self.text(item) for item in self.items(node, go_type))

    def text(self, node: yaml.Node | None, go_type: str = "string") -> str:
        """Return any scalar as it is written, as Go does; null is empty."""
        if node is None or node.tag == _NULL:
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self._mismatch(node, go_type)
            return ""
        return str(node.value)

    def boolean(self, node: yaml.Node | None, *, default: bool) -> bool:
        """Return a truth value in any of YAML 1.1's spellings."""
        return self._scalar(node, "bool", default, {_BOOL: _SCALARS.construct_yaml_bool})

    def integer(self, node: yaml.Node | None) -> int:
        """Return a whole number; like Go, cut what follows a decimal point."""
        return self._scalar(node, "int", 0, _NUMBERS)

    def duration(self, node: yaml.Node | None) -> int:
        """Return the nanoseconds of a Go duration, or of a number of nanoseconds."""
        words = {_STANDARD_TAG + "str": lambda node: parse_duration(node.value)}
        return self._scalar(node, "time.Duration", 0, {**_NUMBERS, **words})

    def _scalar(
        self,
        node: yaml.Node | None,
        go_type: str,
        default: _T,
        readers: Mapping[str, Callable[[yaml.ScalarNode], _T]],
    ) -> _T:
        if node is None or node.tag == _NULL:
            return default
        if isinstance(node, yaml.ScalarNode) and node.tag in readers:
            try:
                return readers[node.tag](node)
            except (ValueError, OverflowError):
                pass
        self._mismatch(node, go_type, shown=True)
        return default

    def _pairs(self, node: yaml.Node | None, go_type: str) -> Iterator[tuple[int, str, yaml.Node]]:
        if node is None or node.tag == _NULL:
            return
        if not isinstance(node, yaml.MappingNode):
            self._mismatch(node, go_type)
            return
        for key, value in node.value:
            yield key.start_mark.line + 1, self.text(key), value

    def _mismatch(self, node: yaml.Node, go_type: str, *, shown: bool = False) -> None:
        # Only what can't be a secret is shown.
        kind = node.tag.replace(_STANDARD_TAG, "!!")
        value = str(node.value)
        short = value if len(value) <= 10 else value[:7] + "..."
        excerpt = f" `{short}`" if shown and isinstance(node, yaml.ScalarNode) else ""
        self._complain(node.start_mark.line + 1, f"cannot unmarshal {kind}{excerpt} into {go_type}")

    def _complain(self, line: int, complaint: str) -> None:
        self._complaints.append(f"line {line}: {complaint}")


def _whole(node: yaml.ScalarNode) -> int:
    number: int = _SCALARS.construct_yaml_int(node)
    if abs(number) >= 1 << 63:
        raise OverflowError
    return number


_NUMBERS: Mapping[str, Callable[[yaml.ScalarNode], int]] = {
    _INT: _whole,
    _FLOAT: lambda node: int(_SCALARS.construct_yaml_float(node)),
}
