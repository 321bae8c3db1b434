"""Prometheus' selectors, applied to the grouping labels of groups: ``{job="backup",db=~"a.*"}``.

The grammar is that of PromQL without a metric name: ``=``, ``!=``, ``=~`` and ``!~``, strings in
Go's syntax, names that are not legacy in quotes. A label that a group does not have counts as
empty. Regular expressions are RE2's and match the whole value. They take linear time, because they
come from strangers.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from pushgate.errors import InvalidSelector
from pushgate.model.grouping import Labels
from pushgate.model.names import LEGACY_LABEL
from pushgate.model.quoting import go_quote, is_utf8, raw
from pushgate.model.slices import Sliced, finished

MAX_LENGTH: Final = 10_000
"""How many characters a selector may have."""

# The memory that a compiled regular expression may take; RE2 refuses a larger one.
_MAX_REGEX_BYTES: Final = 512 << 10
# Of all regular expressions of a selector: some MiB, compiled in some 30 ms.
_MAX_INSTRUCTIONS: Final = 40_000
_MAX_SHOWN = 20
# With a value of 64 KiB, so many instructions of regular expressions take 30 ms at most.
_QUICK_INSTRUCTIONS: Final = 25


class MatchType(StrEnum):
    """How the value of a label is compared."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


class Matcher(NamedTuple):
    """A condition on one label. ``accepts`` returns whether a value meets it.

    ``instructions`` is the size of its regular expression. RE2 takes up to 20 ns for each of them
    and each byte of a value, where the expression has too many states to keep.
    """

    name: str
    type: MatchType
    value: str
    accepts: Callable[[str], bool]
    instructions: int = 0

    def __str__(self) -> str:
        return matcher_text(self.name, self.type, self.value)


def matcher_text(name: str, operator: str, value: str) -> str:
    """Return a matcher in the syntax of selectors."""
    return f"{name if LEGACY_LABEL(name) else go_quote(name)}{operator}{go_quote(value)}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Selects groups. Without ``matchers`` it selects all of them."""

    matchers: tuple[Matcher, ...]

    @property
    def is_slow(self) -> bool:
        """Whether to match a long value may take longer than the event loop can wait."""
        return sum(matcher.instructions for matcher in self.matchers) > _QUICK_INSTRUCTIONS

    def matches(self, labels: Labels) -> bool:
        """Return whether a group with the grouping labels *labels* is selected."""
        values = dict(labels)
        return all(matcher.accepts(values.get(matcher.name, "")) for matcher in self.matchers)

    def __str__(self) -> str:
        """Return the selector as it is written: ``{job="a"}``."""
        return f"{{{','.join(map(str, self.matchers))}}}"


def parse_selector(text: str) -> Selector:
    """Return the selector in *text*.

    Raises:
        InvalidSelector: *text* is malformed; says where, and what to write there.
    """
    return finished(parsing(text))


def parsing(text: str) -> Sliced[Selector]:
    """Do :func:`parse_selector` in slices: there may be thousands of regular expressions."""
    if len(text) > MAX_LENGTH:
        raise InvalidSelector(MAX_LENGTH + 1, f"more than {MAX_LENGTH} characters")
    if not is_utf8(text):
        position = next(at for at, character in enumerate(text, 1) if not is_utf8(character))
        raise InvalidSelector(position, "a byte that is not UTF-8")
    matchers = []
    for matcher in _matchers(_Tokens(text)):
        matchers.append(matcher)
        yield
    return Selector(tuple(matchers))


class _Token(NamedTuple):
    kind: str
    text: str
    position: int

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end"
        cut = self.text[:_MAX_SHOWN]
        return go_quote(cut) + ("..." if cut != self.text else "")


# The lexer of PromQL (promql/parser/lex.go). Blanks and comments are possessive, so that a long run
# of them is not tried again.
_STRING = r"\"(?:[^\"\\\n]|\\.)*\" | '(?:[^'\\\n]|\\.)*' | `[^`]*`"
_TOKEN: Final = re.compile(
    rf"""(?: \s | \#[^\n]* )*+
    (?: (?P<mark> [{{}},] ) | (?P<operator> =~ | != | !~ | = )
      | (?P<name> [a-zA-Z_][a-zA-Z0-9_]* ) | (?P<string> {_STRING} )
      | (?P<end> \Z ) | (?P<unknown> . ) )""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)


class _Tokens:
    """The tokens of a selector. ``seen`` is the next one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self.seen = self._read()

    def _read(self) -> _Token:
        match = _TOKEN.match(self._text, self._end)
        assert match is not None  # any character is a token
        kind = match.lastgroup or ""
        self._end = match.end()
        return _Token(kind, match[kind], match.start(kind) + 1)

    def take(self, wanted: str, *texts: str, kinds: tuple[str, ...] = ()) -> _Token:
        """Return the next token if it is one of *texts* or *kinds*, which *wanted* describes."""
        token = self.seen
        if token.text not in texts and token.kind not in kinds:
            if token.kind == "unknown" and token.text in "\"'`":
                raise InvalidSelector(token.position, f"the string has no closing {token.text}")
            raise InvalidSelector(token.position, f"expected {wanted}, found {token}")
        self.seen = self._read()
        return token


def _matchers(tokens: _Tokens) -> Iterator[Matcher]:
    if tokens.seen.kind in {"name", "string"}:
        raise InvalidSelector(
            tokens.seen.position,
            "groups have no metric name; write label matchers only, as in {job="
            f"{go_quote(tokens.seen.text)}}}",
        )
    tokens.take('"{"', "{")
    instructions = 0
    while tokens.seen.text != "}":
        position = tokens.seen.position
        matcher = _matcher(tokens)
        instructions += matcher.instructions
        if instructions > _MAX_INSTRUCTIONS:
            reason = "the regular expressions up to this one are too large together; use fewer"
            raise InvalidSelector(position, reason)
        yield matcher
        if tokens.seen.text != "}":
            tokens.take('"," or "}"', ",")
    tokens.take('"}"', "}")
    tokens.take("nothing after the selector", kinds=("end",))


def _matcher(tokens: _Tokens) -> Matcher:
    label = tokens.take('a label name or "}"', kinds=("name", "string"))
    name = label.text if label.kind == "name" else _unquoted(label)
    operator = tokens.take(
        f'"=", "!=", "=~" or "!~" after the label {go_quote(name)}', kinds=("operator",)
    )
    if name == "__name__":
        raise InvalidSelector(label.position, "groups have no metric name; leave __name__ out")
    value = tokens.take(f"a value in quotes after {go_quote(operator.text)}", kinds=("string",))
    text = _unquoted(value)
    kind = MatchType(operator.text)
    match kind:
        case MatchType.EQUAL:
            return Matcher(name, kind, text, text.__eq__)
        case MatchType.NOT_EQUAL:
            return Matcher(name, kind, text, text.__ne__)
        case MatchType.REGEX | MatchType.NOT_REGEX:
            regex = _compiled(text, value.position)
            wanted = kind is MatchType.REGEX

            def accepts(text: str) -> bool:
                # Bytes, because re2 would translate the offsets of a match in a str.
                return (regex.fullmatch(raw(text)) is not None) is wanted

            return Matcher(name, kind, text, accepts, regex.programsize)


def _compiled(pattern: str, position: int) -> Any:
    """Return *pattern* compiled as Prometheus does: a dot matches any character."""
    # It takes 2.4 MB, and most servers never see a regular expression.
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = _MAX_REGEX_BYTES
    options.never_capture = True
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise InvalidSelector(position, f"invalid regular expression: {said}") from None


_ESCAPE: Final = re.compile(
    r"""\\ (?: (?P<octal> [0-3][0-7]{2} ) | x (?P<byte> [0-9a-fA-F]{2} )
    | (?: u (?P<short> [0-9a-fA-F]{4} ) | U (?P<long> [0-9a-fA-F]{8} ) )
    | (?P<letter> . ) )""",
    re.VERBOSE | re.DOTALL,
)
_LETTERS: Final = {**dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True)), "\\": "\\"}


def _unquoted(token: _Token) -> str:
    """Return the meaning of the string *token* by Go's rules."""
    quote, inner = token.text[0], token.text[1:-1]
    if quote == "`":
        return inner.replace("\r", "")  # Go drops carriage returns from raw strings

    def meaning(match: re.Match[str]) -> str:
        if match["letter"]:
            letter = _LETTERS.get(match["letter"], quote if match["letter"] == quote else "")
            if letter:
                return letter
        elif match["octal"] or match["byte"]:
            code = int(match["octal"], 8) if match["octal"] else int(match["byte"], 16)
            return bytes([code]).decode("utf-8", "surrogateescape")
        else:
            code = int(match["short"] or match["long"], 16)
            if code < 0x110000 and not 0xD800 <= code < 0xE000:
                return chr(code)
        position = token.position + 1 + match.start()
        raise InvalidSelector(
            position, f"unknown escape {match[0]}; write a backslash as \\\\ or use backquotes"
        )

    meant = _ESCAPE.sub(meaning, inner)
    try:
        return raw(meant).decode()  # several escaped bytes may be a character
    except UnicodeDecodeError:
        raise InvalidSelector(token.position, "the string is not UTF-8") from None
