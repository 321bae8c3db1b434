"""The examples in the docstrings do what they say, and every public name has a contract."""

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import pushgate
from tests import pythonpage

MODULES = [
    "pushgate.client.aio",
    "pushgate.client.base",
    "pushgate.client.gateway",
    "pushgate.client.results",
    "pushgate.client.retry",
    "pushgate.compat",
    "pushgate.instruments.histogram",
    "pushgate.instruments.unit",
    "pushgate.properties.loader",
    "pushgate.testing",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, attempted = doctest.testmod(import_module(name))
    assert (failed, attempted > 0) == (0, True)


@pytest.mark.parametrize("name", pushgate.__all__)
def test_every_public_name_and_method_is_documented(name):
    value = getattr(pushgate, name)
    assert inspect.getdoc(value)
    for attribute, member in vars(value).items() if inspect.isclass(value) else ():
        if not attribute.startswith("_") and callable(member):
            assert inspect.getdoc(member), f"{name}.{attribute}"


def test_the_page_about_the_client_leaves_nothing_out():
    page = (Path(__file__).parent.parent / "docs/client.md").read_text()
    assert {name for name in pushgate.__all__ if name not in page} == set()


def test_the_page_of_the_python_api_is_made_from_the_docstrings():
    """If it is not: make docs."""
    page = (Path(__file__).parent.parent / "docs/python-api.md").read_text()
    assert page == pythonpage.page()


def test_the_page_of_the_python_api_leaves_nothing_out():
    shown = {value.__name__ for values in pythonpage.SECTIONS.values() for value in values}
    ours = {
        name
        for name in pushgate.__all__
        if getattr(pushgate, name).__module__.startswith("pushgate")
    }
    assert ours <= shown
