"""Writes docs/python-api.md from the docstrings and the declared options: ``make docs``."""

import inspect
import re
from collections.abc import Callable, Iterator
from inspect import Parameter
from typing import Any

import pushgate
from pushgate import testing
from pushgate.client.job import Job
from pushgate.client.options import ABOUT

HEAD = """\
# Python API

<!-- Made from the docstrings by `make docs`. -->

What `pushgate` exports. [The Python client](client.md) explains how to use it. `Counter`,
`Gauge`, `Summary`, `Info` and `Enum` are those of `prometheus_client`.
"""
METHODS: dict[Any, list[str]] = {
    pushgate.PushGateway: [
        "push push_add merge delete render job_run periodic push_at_exit",
        "status groups list_groups delete_groups ready replace url job grouping_key",
    ],
    Job: ["counter gauge histogram"],
    pushgate.Histogram: ["observe time labels"],
    testing.RunningGateway: ["exposition samples"],
}
SECTIONS: dict[str, list[Any]] = {
    "Gateways": [pushgate.PushGateway, pushgate.AsyncPushGateway, pushgate.Retry],
    "What they return": [
        pushgate.PushResult,
        pushgate.Payload,
        pushgate.GatewayStatus,
        pushgate.Group,
        pushgate.ListedGroup,
        Job,
    ],
    "Instruments": [
        pushgate.Histogram,
        pushgate.Unit,
        pushgate.exponential_buckets,
        pushgate.linear_buckets,
    ],
    "Errors": [
        pushgate.PushgateError,
        pushgate.ConfigurationError,
        pushgate.PushgatewayError,
        pushgate.EncodingError,
        pushgate.PushConnectionError,
        pushgate.PushTimeoutError,
        pushgate.PushHTTPError,
        pushgate.PushAuthError,
        pushgate.PushRejectedError,
        pushgate.PushRedirectError,
        pushgate.PushServerError,
    ],
    "In tests": [testing.gateway, testing.RunningGateway],
}
ITEM = re.compile(r"([\w ]+): (.*)", re.DOTALL)


def page() -> str:
    return "\n".join([HEAD, *(line for title in SECTIONS for line in section(title))])


def section(title: str) -> Iterator[str]:
    yield f"## {title}\n"
    for value in SECTIONS[title]:
        yield from described(3, value.__name__, value)
        for name in " ".join(METHODS.get(value, [])).split():
            yield from described(4, name, getattr(value, name))


def described(level: int, name: str, value: Any) -> Iterator[str]:
    yield f"{'#' * level} {name}\n"
    if callable(value) and not inspect.isclass(value):
        yield f"`{name}{signature(value)}`\n"
    text = inspect.getdoc(value) or ""
    if value is pushgate.PushGateway:
        text = re.sub(r"Args:\n.*?\n\n(?=Raises)", "", text, flags=re.DOTALL)
    yield from converted(text)
    if value is pushgate.PushGateway:
        yield "".join(options())


def options() -> Iterator[str]:
    """Yield the lines of the table of a gateway's options."""
    yield "#### Options\n\nThe address can be given by position, all others by name.\n\n"
    yield "| option | default | property | meaning |\n|---|---|---|---|\n"
    for name, parameter in inspect.signature(pushgate.PushGateway).parameters.items():
        about, default = ABOUT[name], parameter.default
        shown = {None: "", pushgate.Retry(): "`Retry()`"}.get(default, f"`{default!r}`")
        key = about.property and f"`{about.property}`"
        yield f"| `{name}` | {shown} | {key} | {marked(about.doc)} |\n"


def signature(function: Callable[..., Any]) -> str:
    """The parameters and their defaults; the text says what they mean."""
    whole = inspect.signature(function)
    shown = [
        each.replace(annotation=Parameter.empty)
        for name, each in whole.parameters.items()
        if name != "self"
    ]
    return str(whole.replace(parameters=shown, return_annotation=inspect.Signature.empty))


def converted(docstring: str) -> Iterator[str]:
    """Yield the paragraphs of a docstring in Google's style as Markdown."""
    for paragraph in docstring.split("\n\n"):
        title, _, rest = paragraph.partition("\n")
        if title == "Example:":
            yield f"```pycon\n{code(rest)}\n```\n"
        elif title in {"Args:", "Attributes:", "Raises:"}:
            yield f"{title.replace('Args', 'Arguments')}\n"
            items = re.split(r"\n(?! )", inspect.cleandoc(rest))
            yield "\n".join(map(item, items)) + "\n"
        else:
            yield marked(paragraph) + "\n"


def item(text: str) -> str:
    name, about = re.fullmatch(ITEM, text).groups()
    return f"* `{name}`: {marked(about)}"


def marked(text: str) -> str:
    roles = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", " ".join(text.split()))
    return roles.replace("``", "`")


def code(text: str) -> str:
    return re.sub(r" +# doctest: \+SKIP", "", inspect.cleandoc(text))


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
