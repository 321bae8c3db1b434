"""Reads the rules file."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from pushgate.errors import InvalidSelector
from pushgate.model.duration import parse_duration
from pushgate.model.family import MetricType
from pushgate.server.fields import Section
from pushgate.server.store.aggregation import Aggregation, Operation
from pushgate.server.store.rules import Rule
from pushgate.server.store.selector import parse_selector

if TYPE_CHECKING:
    from pushgate.server.document import Document

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
    from pushgate.server.document import Document

    document = Document(text)
    top = document.convert(document.data, Top)
    return tuple(_rule(document, section, index) for index, section in enumerate(top.rules))


def _rule(document: "Document", section: RuleSection, index: int) -> Rule:
    at = ("rules", index)
    try:
        selector = parse_selector(section.match)
    except InvalidSelector as error:
        raise document.error(str(error), at=(*at, "match")) from None
    durations = {
        key: _duration(document, text, (*at, key))
        for key in ("expect_every", "ttl", "forget_after")
        if (text := getattr(section, key)) is not UNSET
    }
    aggregate = (
        None
        if section.aggregate is UNSET
        else _aggregation(document, section.aggregate, (*at, "aggregate"))
    )
    rule = Rule(selector=selector, aggregate=aggregate, **durations)
    if 0 < rule.forget_after < rule.ttl:
        raise document.error("it is shorter than the ttl", at=(*at, "forget_after"))
    return rule


def _aggregation(
    document: "Document", given: Mapping[str, Any], at: tuple[str | int, ...]
) -> Aggregation:
    for name, operation in given.items():
        where = (*at, name)
        allowed = ("sum", "last") if name in _ADDED_OR_LAST else tuple(Operation)
        if document.convert(operation, str, where) not in allowed:
            expected = " or ".join((", ".join(allowed[:-1]), allowed[-1]))
            raise document.error(f"expected {expected}, got {operation}", at=where)
    return Aggregation({name: Operation(operation) for name, operation in given.items()})


def _duration(document: "Document", text: str, at: tuple[str | int, ...]) -> int:
    try:
        duration = parse_duration(text)
    except ValueError as error:
        problem = str(error).removeprefix("time: ")
        raise document.error(f"{problem}; write one such as 90s, 24h or 7d", at=at) from None
    if duration <= 0:
        raise document.error(f"{text} is not longer than nothing; leave the key out", at=at)
    return duration
