"""The rules file: read, and followed while the server runs."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import asdict

from pushgate.errors import InvalidSelector
from pushgate.model.duration import parse_duration
from pushgate.model.family import MetricType
from pushgate.server.document import Document, Section
from pushgate.server.live import LiveFiles, read_file
from pushgate.server.store.aggregation import Aggregation, Operation
from pushgate.server.store.rules import Rule, Rules
from pushgate.server.store.selector import parse_selector

# Their buckets and quantiles can be added or replaced. A smallest or largest one means nothing.
_ADDED_OR_LAST = (MetricType.SUMMARY.word, MetricType.HISTOGRAM.word)


class RuleSection(Section, frozen=True, kw_only=True):
    """An entry of ``rules``. Durations are texts here, so that errors name their keys."""

    match: str
    expect_every: str | UnsetType = UNSET
    ttl: str | UnsetType = UNSET
    forget_after: str | UnsetType = UNSET
    aggregate: Mapping[str, Any] | UnsetType = UNSET


class Top(Section, frozen=True, kw_only=True):
    """The whole file."""

    rules: tuple[RuleSection, ...]


def parse(text: bytes) -> tuple[Rule, ...]:
    """Return the rules that *text*, the content of the file, writes.

    Raises:
        StartupError: what it says can't be done. The message names the line and the key.
    """
    document = Document(text)
    rules = []
    for index, section in enumerate(document.convert(document.data, Top).rules):
        at = ("rules", index)
        given = {key: value for key, value in asdict(section).items() if value is not UNSET}
        try:
            selector = parse_selector(given.pop("match"))
        except InvalidSelector as error:
            raise document.error(str(error), at=(*at, "match")) from None
        operations = given.pop("aggregate", None)
        aggregate = None
        if operations is not None:  # even an empty mapping asks for it
            aggregate = Aggregation(document.texts(operations, _operation, (*at, "aggregate")))
        durations = document.texts(given, _duration, at)
        rule = Rule(selector=selector, aggregate=aggregate, **durations)
        if 0 < rule.forget_after < rule.ttl:
            raise document.error("it is shorter than the ttl", at=(*at, "forget_after"))
        rules.append(rule)
    return tuple(rules)


def _operation(name: str, text: str) -> Operation:
    allowed = ("sum", "last") if name in _ADDED_OR_LAST else tuple(Operation)
    if text not in allowed:
        expected = " or ".join((", ".join(allowed[:-1]), allowed[-1]))
        raise ValueError(f"expected {expected}, got {text}")
    return Operation(text)


def _duration(_key: str, text: str) -> int:
    try:
        duration = parse_duration(text)
    except ValueError as error:
        problem = str(error).removeprefix("time: ")
        raise ValueError(f"{problem}; write one such as 90s, 24h or 7d") from None
    if duration <= 0:
        raise ValueError(f"{text} is not longer than nothing; leave the key out")
    return duration


class LiveRules(LiveFiles):
    """The last valid :attr:`rules` of a file; only *default* without one.

    Raises:
        StartupError: the file can't be used.
    """

    def __init__(self, path: Path | None, default: Rule = Rule()) -> None:  # noqa: B008 - frozen
        super().__init__((path,) if path else ())
        self._default = default
        self._text = read_file(path) if path else b""
        self.rules = Rules(parse(self._text) if path else (), default)

    async def _reload(self) -> bool:
        text = await asyncio.to_thread(read_file, self.files[0])
        if text == self._text:
            return False
        rules = await asyncio.to_thread(parse, text)
        self._text, self.rules = text, Rules(rules, self._default)
        return True
